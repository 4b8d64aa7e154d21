"""The data of the explorer of a colour scene: the segmenter that comes with the package, and the HAT-Net inside it."""

from pathlib import Path

import torch

from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.dense import SemanticFPN
from hatnet.dense.source import find_dense
from hatnet.files import write_whole
from hatnet.maps import attention_maps
from hatnet.maps.explorer import ClassMap, Picture, Start, encode
from hatnet.maps.object_map import object_maps
from hatnet.network import HATNet

SCENE = 7  # of the test scenes; tutorial 10 looks at it, too
OBJECTS = ("red coat", "yellow pullover", "bag")  # in it
START = Start(query=(104, 104), stage=0, block=1, kind="local")  # on the red coat


def write_scene_maps(path: Path) -> None:
    """Write a test scene with all weights, near and far, and a map for each object.

    There is no rollout: the pyramid reads every stage, and for each object other tokens of it.

    Args:
        path: the file to write.
    """
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
    picture = Picture(
        f"test scene {SCENE}",
        pixels.numpy(),
        attention_maps(network, model.transform(image[None])[0]).weights,
        class_maps=[ClassMap(*each, of="object") for each in zip(OBJECTS, maps, roles, strict=True)],
    )
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
