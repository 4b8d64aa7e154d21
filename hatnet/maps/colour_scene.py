"""A test scene as the segmenter that comes with the package sees it: its maps, for the site and for `hatnet demo`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.dense import SemanticFPN
from hatnet.dense.source import find_dense
from hatnet.maps.explorer import ClassMap, Picture, Start, encode
from hatnet.maps.maps import attention_maps
from hatnet.maps.object_map import object_maps
from hatnet.network import HATNet

SCENE = 7  # of the test scenes; tutorial 10 looks at it, too
OBJECTS = ("red coat", "yellow pullover", "bag")  # in it
START = Start(query=(104, 104), stage=0, block=1, kind="local")  # on the red coat


@dataclass(frozen=True)
class ColourScene:
    """The scene with all weights of the network, near and far, and a map for each object.

    There is no rollout: the pyramid reads every stage, and for each object other tokens of it.
    """

    network: HATNet  # in float64; its classifier is not trained
    image: Tensor  # (3, H, W), normalised for the network
    picture: Picture
    provenance: str  # the origin of the weights

    def encode(self) -> bytes:
        """The data of its explorer."""
        return encode([self.picture], config=self.network.config, provenance=self.provenance, start=START)


def colour_scene() -> ColourScene:
    """Run the segmenter, with gradients for the maps of objects."""
    source = find_dense("scenes-segmentation")
    assert isinstance(source.model, SemanticFPN)
    model = source.model.double().eval()
    network = inner_network(model)
    scene = compose(Garments(), "val", SCENE, 128, seed=0)
    pixels = torch.tensor(scene.pixels).double() / 255  # (H, W, 3)
    image = pixels.permute(2, 0, 1)
    masks = torch.stack([torch.tensor(scene.owner == number) for number, _ in enumerate(scene.labels, 1)])
    labels = [garment + 1 for garment in scene.labels]  # class 0 is the background
    maps = object_maps(model, image, masks, labels)
    roles = [f"of the class {source.classes[label]}" for label in labels]
    normalised = model.transform(image[None])[0]
    picture = Picture(
        f"test scene {SCENE}",
        pixels.numpy(),
        attention_maps(network, normalised).weights,
        class_maps=[ClassMap(*each, of="object") for each in zip(OBJECTS, maps, roles, strict=True)],
    )
    return ColourScene(network, normalised, picture, f"The HAT-Net below Semantic FPN. {source.words}")


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
