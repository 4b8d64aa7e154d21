"""Tasks and metrics: exact evaluation, and one place to add a metric or a task."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hatnet.data import DataError, open_data
from hatnet.data.transforms import for_testing
from hatnet.training.batches import batches_for_testing
from hatnet.training.checkpoint_evaluation import CheckpointEvaluation
from hatnet.training.classification import Evaluation, evaluate
from tests.training.image_files import write_folder
from tests.training.runs import ALONE, SMALL, thin


def test_evaluation_equals_counting_one_image_at_a_time():
    torch.manual_seed(0)
    model = thin(SMALL.config(10, 1)).eval()
    images, labels = torch.randn(23, 1, 28, 28), torch.randint(0, 10, (23,))
    found = evaluate(model, [(images[:9], labels[:9]), (images[9:], labels[9:])], ALONE)
    confusion, losses = torch.zeros(10, 10, dtype=torch.int64), []
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            logits = model(image[None])
            confusion[label, logits.argmax()] += 1
            losses.append(float(F.cross_entropy(logits, label[None])))
    assert torch.equal(found.confusion, confusion)
    assert math.isclose(found.loss, float(np.mean(losses)), rel_tol=1e-5)
    assert found.accuracy == float(confusion.diagonal().sum()) / 23
    assert math.isclose(np.nansum(np.array(found.class_accuracy) * confusion.sum(1).numpy()) / 23, found.accuracy)


def test_a_test_without_readable_images_is_an_error(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path, size=(28, 28))}")
    for path in data.test.paths:
        path.unlink()
    batches = batches_for_testing(data.test, for_testing(SMALL, data), 0, 1, 4, 0)
    with pytest.raises(DataError, match="not one test image can be read: the data has gone bad, or its disk is away"):
        evaluate(thin(SMALL.config(2, 3)), batches, ALONE)


def test_a_class_without_test_images_has_no_accuracy(tmp_path):
    confusion = torch.tensor([[3, 1], [0, 0]])
    CheckpointEvaluation(Path("x.safetensors"), "photos", ("cat", "dog"), Evaluation(confusion, 0.5)).write(tmp_path)
    facts = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert facts["class accuracy"] == {"cat": 0.75, "dog": None}
