"""Networks, images and one small study, shared by the tests of faithfulness."""

from dataclasses import replace

import pytest
import torch

import hatnet
from hatnet.data import open_data
from hatnet.studies.faithfulness import MapInputs, Settings, study
from hatnet.studies.faithfulness.preparation import untrained_networks
from hatnet.studies.faithfulness.study import count_steps
from hatnet.training.recipes import RECIPES, to_json
from hatnet.weights.source import Source, find_source
from tests.training.image_files import write_folder


@pytest.fixture(scope="session")
def fashion():
    """The embedded part of Fashion-MNIST."""
    return open_data("fashion-subset")


@pytest.fixture
def shipped():
    """HAT-Net micro trained on Fashion-MNIST, newly loaded for each test."""
    return find_source("fashion-mnist")


@pytest.fixture(scope="session")
def inputs():
    """Three images for a network with random weights of the scale of a training's initial weights."""
    settings = Settings(seed=3)
    (model, *_) = untrained_networks(Source(hatnet.create_model("micro"), "random weights"), settings)
    images = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([1, 7, 4])
    return MapInputs(model, images, targets, torch.zeros_like(images), torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def record(fashion):
    """The record of a complete study, as small as possible."""
    methods = ("rollout", "gradient", "brightness", "random")
    settings = Settings(images=10, methods=methods, baselines=("mean",), patch=14, steps=2, untrained=2)
    steps = []
    found = study(settings, find_source("fashion-mnist"), fashion, steps.append)
    assert len(steps) == count_steps(settings)
    return found


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """(source, data): weights trained on photos that are resized to 64 pixels, and photos of two sizes."""
    folder = write_folder(tmp_path_factory.mktemp("photos"), images=4)
    for name, size in (("wide", (90, 70)), ("tall", (60, 110))):
        write_folder(folder.parent / name, images=1, size=size)
    for image, other in (("cat/0.png", "wide"), ("dog/1.png", "tall")):
        (folder.parent / other / "val" / image[:3] / "0.png").rename(folder / "val" / image)
    data = open_data(f"folder:{folder}")
    recipe = replace(RECIPES["imagenette"], variant="micro", image_size=64, data=data.name)
    torch.manual_seed(0)
    facts = {"recipe": to_json(recipe), "classes": list(data.classes), "image_size": 64}
    return Source(hatnet.create_model("micro", num_classes=2).eval(), "weights of a test", facts), data


def with_facts(source, **changes):
    """A source whose weights file records different facts about the training."""
    return replace(source, about={**source.about, **changes})
