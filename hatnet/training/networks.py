"""The networks that are trained: for classification, or a dense model with a HAT-Net as its backbone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from hatnet.config import HATNetConfig
from hatnet.network import Backbone, HATNet

if TYPE_CHECKING:
    from hatnet.dense import MaskRCNN, RetinaNet, SemanticFPN

    Dense = SemanticFPN | RetinaNet | MaskRCNN
    Network = HATNet | Dense
else:  # hatnet.dense imports torchvision
    Dense = Network = nn.Module

Build = Callable[[HATNetConfig], Network]  # makes the network of a configuration

BODY = "backbone.body."  # prefix of the HAT-Net's parameters in a dense model


def body_of(network: Network) -> Backbone:
    """The HAT-Net in a network: the network itself, or the backbone of a dense model."""
    if isinstance(network, Backbone):
        return network
    body = network.backbone.body
    assert isinstance(body, Backbone)
    return body


def normalise_inside(network: Network, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Set the mean and the standard deviation with which a dense model normalises pixels in [0, 1]."""
    if not isinstance(network, Backbone):
        network.transform.image_mean, network.transform.image_std = list(mean), list(std)
