"""Weights of dense models in the package: small, with a card, and as good on unseen scenes as the card states."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import hatnet
from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.dense.source import find_dense
from hatnet.weights.checkpoints import about
from hatnet.weights.pretrained import ASSETS, SHIPPED

DOCS = Path(__file__).parents[2] / "docs"
TASKS = {"scenes-segmentation": "segmentation", "scenes-instances": "instances"}
COUNT = 6  # scenes


@pytest.fixture(scope="module")
def scenes():
    garments = Garments()
    return [compose(garments, "val", index, 128, 0) for index in range(COUNT)]


def pixels(scenes):
    return torch.stack([torch.tensor(scene.pixels).permute(2, 0, 1) / 255 for scene in scenes])


def test_the_files_are_small_and_have_licences():
    assert set(SHIPPED) == {"fashion-mnist", *TASKS}
    assert sum(SHIPPED[name].stat().st_size for name in TASKS) < 5e6
    readme = (ASSETS / "README.md").read_text(encoding="utf-8")
    assert all(file.name in readme for file in SHIPPED.values())


@pytest.mark.parametrize("name", TASKS)
def test_the_card_states_what_the_record_and_the_page_state(name):
    """The record is an evaluation of the stored file."""
    known = about(SHIPPED[name])
    assert set(known["card"]) == {"data", "licence", "figures", "limits"}
    record = json.loads((DOCS / "measurements" / name / "evaluation.json").read_text(encoding="utf-8"))
    assert (record["weights"], record["data"], record["images"]) == (SHIPPED[name].name, "scenes", 500)
    page = (DOCS / "dense-prediction.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| figures on the 500 test scenes"))
    metrics = {"mean_IoU": "mean IoU {:.1f} %"} if name == "scenes-segmentation" else {
        "box_AP50": "AP50 of boxes {:.1f} %", "mask_AP50": "of masks {:.1f} %"
    }  # fmt: skip
    for metric, words in metrics.items():
        for text in (row, known["card"]["figures"]):
            assert words.format(100 * record[metric]) in text
    fact = "test_mean_IoU" if name == "scenes-segmentation" else "test_mask_AP50"
    assert known[fact] == record[fact.removeprefix("test_")]
    assert "/" not in str(known["recipe"]["weights"]).removeprefix("runs/").replace("/last.safetensors", "")


@pytest.mark.parametrize("name", TASKS)
def test_the_models_compute_in_float32_and_keep_what_they_were_trained_with(name):
    model = hatnet.create_model("micro", name, task=TASKS[name])
    assert not model.training
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert next(hatnet.load(SHIPPED[name], task=TASKS[name]).parameters()).dtype in (torch.float16, torch.bfloat16)
    source = find_dense(name)
    assert source.task == TASKS[name]
    assert "It knows five kinds of clothes" in source.words
    assert " on its test images" in source.words
    with pytest.raises(ValueError, match=f"task='{TASKS[name]}'"):
        hatnet.create_model("micro", name)


def test_pixels_of_unseen_scenes_get_their_classes(scenes):
    """Enlarged as in training; at their own 128 pixels it is worse."""
    model = hatnet.create_model("micro", "scenes-segmentation", task="segmentation")
    side = about(SHIPPED["scenes-segmentation"])["image_size"]
    with torch.no_grad():
        logits = model(F.interpolate(pixels(scenes), size=(side, side), mode="bilinear"))
        predicted = F.interpolate(logits, size=(128, 128), mode="bilinear").argmax(1)
    truth = torch.stack([torch.tensor([0, *(k + 1 for k in s.labels)])[torch.tensor(s.owner).long()] for s in scenes])
    confusion = torch.bincount((6 * truth + predicted).flatten(), minlength=36).view(6, 6)
    iou = confusion.diag() / (confusion.sum(0) + confusion.sum(1) - confusion.diag())
    assert iou.mean() > 0.7, "always the background: 0.14"


def test_objects_of_unseen_scenes_are_found(scenes):
    """At least half of them: the same class, and a mask with an IoU above 0.5."""
    model = hatnet.create_model("micro", "scenes-instances", task="instances")
    right = count = 0
    with torch.no_grad():
        found = model(list(pixels(scenes[:3])))
    for scene, result in zip(scenes, found, strict=False):
        masks = result["masks"][:, 0] > 0.5
        for number, label in enumerate(scene.labels, start=1):
            true = torch.tensor(scene.owner == number)
            overlaps = (masks & true).sum((1, 2)) / (masks | true).sum((1, 2))
            right += bool(((overlaps > 0.5) & (result["labels"] == label + 1) & (result["scores"] > 0.3)).any())
            count += 1
    assert right >= 0.5 * count
