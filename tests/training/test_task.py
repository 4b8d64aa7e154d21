"""Tasks and metrics: exact evaluation, and one place to add a metric or a task."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors

from hatnet.cli.evaluate import print_evaluation
from hatnet.data import DataError, ImageTensor, Split
from hatnet.data.transforms import for_testing
from hatnet.network import HATNet
from hatnet.training import Processes
from hatnet.training.batches import batches_for_testing
from hatnet.training.checkpoint_evaluation import CheckpointEvaluation
from hatnet.training.classification import ACCURACY, CLASSIFICATION, LOSS, Classification, Evaluation, evaluate, rank
from hatnet.training.figures import draw_curves
from hatnet.training.run_folder import RunFolder, read_metrics
from hatnet.training.task import Metric, row_of, words_of
from hatnet.weights.checkpoints import about
from tests.training.image_files import folder_data
from tests.training.runs import ALONE, ONE_EPOCH, SMALL, run, small_data, start, thin


def test_evaluation_equals_counting_one_image_at_a_time():
    torch.manual_seed(0)
    model = thin(SMALL.config(10, 1)).eval()
    images, labels = torch.randn(23, 1, 28, 28), torch.randint(0, 10, (23,))
    found = evaluate(model, [(images[:9], labels[:9]), (images[9:], labels[9:])], ALONE)
    with torch.no_grad():
        logits = torch.cat([model(image[None]) for image in images])
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for label, predicted in zip(labels, logits.argmax(1), strict=True):
        confusion[label, predicted] += 1
    assert torch.equal(found.confusion, confusion)
    assert math.isclose(found.loss, F.cross_entropy(logits, labels), rel_tol=1e-5)
    assert found.accuracy == float(confusion.diagonal().sum()) / 23
    assert math.isclose(np.nansum(np.array(found.class_accuracy) * confusion.sum(1).numpy()) / 23, found.accuracy)


class Twins(Processes):
    """Two processes that compute the same."""

    def sum(self, values):
        return values.mul_(2)


def test_evaluation_adds_up_all_counts_of_all_processes():
    torch.manual_seed(0)
    batch = torch.randn(40, 10), torch.randint(0, 10, (40,))
    model = Mock(side_effect=lambda images: images, config=Mock(num_classes=10))
    one, two = (evaluate(model, [batch], processes) for processes in (ALONE, Twins(0, 2, ALONE.device)))
    assert torch.equal(two.confusion, 2 * one.confusion)
    assert (two.accuracy, two.loss, two.top5) == (one.accuracy, pytest.approx(one.loss), one.top5)


def test_a_test_without_readable_images_is_an_error(tmp_path):
    data = folder_data(tmp_path)
    for path in data.test.paths:
        path.unlink()
    batches = batches_for_testing(data.test, for_testing(SMALL, data), 0, 1, 4, 0)
    with pytest.raises(DataError, match="not one test image can be read: the data is damaged, or its disk is away"):
        evaluate(thin(SMALL.config(2, 3)), batches, ALONE)


def evaluation_of(confusion, task=CLASSIFICATION):
    found = Evaluation(torch.tensor(confusion), loss=0.5)
    return CheckpointEvaluation(Path("x.safetensors"), "photos", ("cat", "dog"), found, task)


def test_a_class_without_test_images_has_no_accuracy(tmp_path):
    evaluation_of([[3, 1], [0, 0]]).write(tmp_path)
    facts = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert facts["class accuracy"] == {"cat": 0.75, "dog": None}


WORST = Metric(
    "worst_class",
    lambda evaluation: min(evaluation.class_accuracy),
    description="accuracy of the worst class",
    title="Worst class",
    axis="classified right in %",
    factor=100,
    format="{:.1f} %",
    sentence="At worst {value} of a class in {images} are classified right",
)


def test_a_metric_is_added_in_one_place(curves, tmp_path, capsys):
    task = replace(CLASSIFICATION, metrics=(*CLASSIFICATION.metrics, WORST), selection=WORST)
    run(tmp_path, ONE_EPOCH, task=task)
    (row,) = read_metrics(tmp_path / "metrics.csv")
    shipped = [metric.column() for metric in CLASSIFICATION.metrics]
    assert list(row)[3 : len(shipped) + 5] == ["train_loss", *shipped, "test_worst_class"]
    assert words_of(task, row).endswith(f"test worst_class {100 * row['test_worst_class']:.1f} %")
    assert "Worst class" in (tmp_path / "curves.svg").read_text()
    assert about(tmp_path / "best.safetensors")["test_worst_class"] == row["test_worst_class"]
    result = evaluation_of([[3, 1], [0, 2]], task)
    result.write(tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["worst_class"] == 0.75
    print_evaluation(result)
    printed = capsys.readouterr().out
    assert "At worst 75.0 % of a class in 6 images are classified right.\n" in printed
    assert "\nloss: 0.5000\n" in printed, "a metric without a sentence"


def test_rows_of_an_older_version_may_lack_a_metric(whole, tmp_path):
    task = replace(CLASSIFICATION, metrics=(*CLASSIFICATION.metrics, WORST))
    history = read_metrics(whole / "metrics.csv")
    folder = RunFolder(tmp_path, task)
    folder.write_metrics(history)
    assert all(math.isnan(row["test_worst_class"]) for row in read_metrics(folder.metrics))
    draw_curves(history, task.metrics, folder.curves)
    assert WORST.best([*history, {WORST.column(): 0.1}]) == {WORST.column(): 0.1}


def test_the_best_row_is_the_lowest_loss_or_the_first_of_the_highest_accuracies():
    values = ((0.9, 0.6), (0.4, 0.7), (0.5, 0.7))
    rows = [{"test_loss": loss, "test_accuracy": accuracy} for loss, accuracy in values]
    assert LOSS.best(rows) is ACCURACY.best(rows) is rows[1]


class Masks(ImageTensor):
    """Images with one class for every pixel: labels (images, H, W)."""

    def label(self, index: int) -> Tensor:
        return tv_tensors.Mask(self.labels[index])


class Segmenter(HATNet):
    """Logits for every pixel: (B, classes, H, W)."""

    def forward(self, image: Tensor, trace=None) -> Tensor:
        features = self.forward_features(image)[-1].permute(0, 2, 3, 1)
        return F.interpolate(self.classifier(features).permute(0, 3, 1, 2), size=image.shape[2:])


PIXELS = Metric("pixel_accuracy", float, description="fraction of pixels", title="Pixels", axis="right in %")


@dataclass(frozen=True)
class Segmentation(Classification):
    """Background or clothes, for every pixel."""

    kind = "segmentation"
    selection: Metric = PIXELS
    metrics: tuple[Metric, ...] = (PIXELS,)
    build = Segmenter

    def config(self, recipe, data):
        return thin(recipe.config(len(data.classes), data.channels)).config

    def mixing(self, recipe, data):
        return None

    def loss(self, network, images, labels, recipe):
        return F.cross_entropy(network(images), labels)

    @torch.inference_mode()
    def evaluate(self, model, batches, processes, images):
        right = [(model(images).argmax(dim=1) == labels).float().mean() for images, labels in batches]
        return torch.stack(right).mean()


def test_a_task_is_added_in_one_file(tmp_path):
    """A dense task: image and mask are cropped and flipped together, and its own metric is recorded."""
    whole = small_data()
    parts = (Masks(images.pixels, (images.pixels[:, 0] > 100).long()) for images in (whole.train, whole.test))
    data = Split("masks", *parts, ("background", "clothes"), whole.mean, whole.std, kind="segmentation")
    recipe = replace(SMALL, epochs=2, rand_augment=0, erasing=0.0)
    images, masks = next(start(tmp_path, recipe, data, build=None, task=Segmentation()).batches)
    assert torch.equal(masks, (255 * (images[:, 0] * data.std[0] + data.mean[0]) > 100.5).long())
    training = run(tmp_path, recipe, data=data, build=None, task=Segmentation())
    assert training.history[-1]["test_pixel_accuracy"] > 0.5
    assert list(read_metrics(tmp_path / "metrics.csv")[0])[4] == "test_pixel_accuracy"
    assert "test pixel_accuracy of the last epoch" in json.loads((tmp_path / "run.json").read_text())["result"]
    assert (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize(("classes", "ties"), [(6, False), (10, False), (1000, False), (10, True)])
def test_top_5_is_counted_as_by_sorting(classes, ties):
    """`torch.topk` where no logits are equal; otherwise by sorting pairs, the lower class first."""
    torch.manual_seed(0)
    logits, labels = torch.randn(200, classes), torch.randint(0, classes, (200,))
    logits = logits.round() if ties else logits
    model = Mock(side_effect=logits.split(64), config=Mock(num_classes=classes))
    found = evaluate(model, zip(logits.split(64), labels.split(64), strict=True), ALONE)
    first = [sorted(range(classes), key=lambda index, row=row: (-row[index], index))[:5] for row in logits.tolist()]
    assert found.top5 == sum(label in row for label, row in zip(labels.tolist(), first, strict=True)) / 200
    if not ties:
        assert found.top5 == int((logits.topk(5).indices == labels[:, None]).any(1).sum()) / 200
    assert found.accuracy <= found.top5


def test_top_5_of_five_classes_or_of_nan_is_not_claimed(tmp_path, capsys):
    model = Mock(side_effect=lambda images: images, config=Mock(num_classes=5))
    few = evaluate(model, [(torch.randn(4, 5), torch.arange(4))], ALONE)
    assert math.isnan(few.top5)
    assert "test_top5" not in row_of(CLASSIFICATION, few)
    result = evaluation_of([[3, 1], [0, 2]])
    result.write(tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["top5"] is None
    print_evaluation(result)
    assert "five most probable" not in capsys.readouterr().out
    nan = torch.full((1, 7), math.nan)
    assert int(rank(nan, torch.tensor([3]))) == 7, "not among the first"


@pytest.mark.parametrize("values", [[0.5], [0.1, 0.3, 0.9], [0.9, 0.3, 0.1], [0.2, 0.9, 0.85]])
def test_the_label_of_a_curve_is_not_on_its_line(curves, values, monkeypatch):
    figures = []
    monkeypatch.setattr("hatnet.training.figures._write_svg", lambda figure, _: figures.append(figure))
    rows = [{"epoch": epoch + 1, "test_accuracy": value} for epoch, value in enumerate(values)]
    draw_curves(rows, [ACCURACY], Path("curves.svg"))
    (axes,) = figures[0].axes
    figures[0].draw_without_rendering()
    (label,), (line,) = axes.texts, axes.lines
    box = label.get_window_extent()
    assert not line.get_path().transformed(axes.transData).intersects_bbox(box, filled=False)
    assert not box.contains(*axes.transData.transform((len(values), 100 * values[-1])))
    assert axes.get_window_extent().y0 < box.y0 < box.y1 < axes.get_window_extent().y1
