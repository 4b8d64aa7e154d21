"""The data of the explorer of a colour scene: the HAT-Net inside the segmenter that comes with the package."""

from pathlib import Path

import torch

from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.dense import SemanticFPN
from hatnet.dense.source import find_dense
from hatnet.files import write_whole
from hatnet.maps import attention_maps
from hatnet.maps.explorer import Picture, Start, encode
from hatnet.network import HATNet

SCENE = 7  # of the test scenes; tutorial 10 looks at it, too
START = Start(query=(104, 104), stage=0, block=1, kind="local")  # on the red coat


def write_scene_maps(path: Path) -> None:
    """Write a test scene with all weights, near and far.

    There is no map of the whole network: the pyramid reads every stage, so that no rows of one stage are its input.

    Args:
        path: the file to write.
    """
    source = find_dense("scenes-segmentation")
    assert isinstance(source.model, SemanticFPN)
    model = source.model.double().eval()
    network = inner_network(model)
    pixels = torch.tensor(compose(Garments(), "val", SCENE, 128, seed=0).pixels).double() / 255  # (H, W, 3)
    image = model.transform(pixels.permute(2, 0, 1)[None])[0]
    picture = Picture(f"test scene {SCENE}", pixels.numpy(), attention_maps(network, image).weights)
    words = f"The HAT-Net below Semantic FPN. {source.words}"
    write_whole(path, encode([picture], config=network.config, provenance=words, start=START))


def inner_network(model: SemanticFPN) -> HATNet:
    """The HAT-Net of a segmenter, in its dtype, with a classifier that nobody trained.

    Args:
        model: in evaluation mode.
    """
    body = model.backbone.body
    network = HATNet(body.config).to(next(body.parameters()).dtype)
    absent = network.load_state_dict(body.state_dict(), strict=False).missing_keys
    assert absent == ["classifier.weight", "classifier.bias"]
    return network.eval()
