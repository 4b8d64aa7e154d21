"""Every figure that a run records follows from its predictions, which plain NumPy recomputes after the run."""

import csv
import json
import resource
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from hatnet import to_numpy
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.classification import ACCURACY, CLASSIFICATION, LOSS
from hatnet.training.run_folder import RunFolder, columns
from hatnet.weights.checkpoints import about, load
from reference import hat_net
from tests.training.observer import Observer, slice_seconds
from tests.training.runs import ALONE, SMALL, small_data, thin

# 3 and 5 steps of 2 slices per epoch. The tests get batches of 16 images; 20 and 30 images do not fill them. With these
# seeds the second of three epochs is the best.
AVERAGED = replace(SMALL, validation=0.2, weight_decay=0.3, seed=9)
PLAIN = replace(SMALL, ema=0.0, lr=1e-2, seed=6)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def training_losses(seen, recipe):
    """The loss of every step: the mean over all images of its batch, with smoothed labels."""
    share, losses = recipe.batch_size // recipe.slice_size, []
    for first in range(0, len(seen.logits), share):
        logits, labels = (np.concatenate(parts[first : first + share]) for parts in (seen.logits, seen.labels))
        target = (1 - recipe.label_smoothing) * labels + recipe.label_smoothing / 10
        assert len(logits) == recipe.batch_size
        losses.append(-(target * log_softmax(logits)).sum(axis=1).mean())
    return losses


def averaged(weights, decay):
    """The weights that are tested after each step: an average, if there is one."""
    found = [weights[0]]
    for step, now in enumerate(weights[1:]):
        keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
        found.append({name: keep * found[-1][name] + (1 - keep) * weight for name, weight in now.items()})
    return found[1:]


def figures_of(params, config, images, part):
    """Loss, accuracy and top-5 accuracy on a part of the data, image by image with the reference."""
    pixels = (images.pixels.numpy() / 255 - 0.2860) / 0.3530
    logits = np.stack([hat_net(image, params, config) for image in pixels])
    truth = images.labels.numpy()
    true_logits = logits[np.arange(len(truth)), truth]
    above = (logits > true_logits[:, None]).sum(axis=1)
    return {
        f"{part}_loss": pytest.approx(-log_softmax(logits)[np.arange(len(truth)), truth].mean(), rel=1e-5),
        f"{part}_accuracy": (above == 0).mean(),
        f"{part}_top5": (above < 5).mean(),
    }


def expected_rows(seen, recipe):
    """One row per epoch, as `metrics.csv` should have it, without the memory."""
    training, rows = seen.training, []
    steps, share = training.sampler.steps_per_epoch, recipe.batch_size // recipe.slice_size
    losses, weights = training_losses(seen, recipe), averaged(seen.params, recipe.ema)
    for epoch in range(1, recipe.epochs + 1):
        last = epoch * steps
        seconds = sum(map(slice_seconds, range((last - steps) * share, last * share)))
        (rate,) = seen.rates[last - 1]
        part = training.data.choosing
        rows.append(
            {
                "epoch": epoch,
                "step": last,
                "learning_rate": pytest.approx(rate, rel=1e-12),
                "train_loss": pytest.approx(np.mean(losses[last - steps : last]), rel=1e-5),
                **figures_of(weights[last - 1], training.model.config, training.data.parts[part], part),
                "seconds": pytest.approx(seconds, abs=5e-4),
                "images_per_second": pytest.approx(steps * recipe.batch_size / seconds, abs=0.05),
            }
        )
    return rows


def peak_memory():
    """In 10^6 bytes. macOS counts bytes, others kibibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


@pytest.fixture(
    scope="module", params=[AVERAGED, pytest.param(PLAIN, marks=pytest.mark.long)], ids=["averaged", "plain"]
)
def seen(request, tmp_path_factory):
    """A finished run, with the memory before and after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hatnet.training.figures.draw_curves", lambda *arguments: arguments[2].write_text(""))
        before = peak_memory()
        observer = Observer(tmp_path_factory.mktemp("seen"), patch, request.param)
        observer.memory = (before, peak_memory())
        return observer


def read_rows(seen):
    with seen.training.folder.metrics.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_every_column_of_the_metrics_is_recomputed(seen):
    rows, recipe = read_rows(seen), seen.training.recipe
    memory = [row.pop("memory_mb") for row in rows]
    want = expected_rows(seen, recipe)
    assert rows == want
    assert [*want[0], "memory_mb"] == list(columns(CLASSIFICATION, seen.training.data.choosing)), "a column has no test"
    low, high = seen.memory
    assert low - 0.05 <= memory[0] <= memory[1] <= memory[2] <= high + 0.05
    assert [{name: row[name] for name in row if name != "memory_mb"} for row in seen.training.history] == want


def test_progress_is_that_of_the_epoch_so_far(seen):
    losses, steps = training_losses(seen, seen.training.recipe), seen.training.sampler.steps_per_epoch
    assert [progress.step for progress in seen.reports] == list(range(1, 3 * steps + 1)), "each step takes over 2 s"
    for progress in seen.reports:
        first = (progress.step - 1) // steps * steps
        assert (progress.epoch, progress.steps) == (first // steps, 3 * steps)
        assert progress.loss == pytest.approx(np.mean(losses[first : progress.step]), rel=1e-5)
        assert {progress.learning_rate} == seen.rates[progress.step - 1]
        seconds = sum(map(slice_seconds, range(2 * first, 2 * progress.step)))
        assert progress.images_per_second == pytest.approx(16 * (progress.step - first) / seconds)


def test_best_and_last_hold_the_weights_that_were_tested(seen):
    """Bit for bit those that gave the figures: evaluated again, they give the same figures."""
    rows, training = read_rows(seen), seen.training
    weights, steps = averaged(seen.params, training.recipe.ema), training.sampler.steps_per_epoch
    column = f"{training.data.choosing}_accuracy"
    best = max(range(len(rows)), key=lambda place: rows[place][column])
    assert best == 1, "neither the first nor the last: choose another seed"
    for file, place in ((training.folder.best, best), (training.folder.last, len(rows) - 1)):
        known, kept = about(file), to_numpy(load(file))
        assert (known["epoch"], known[column]) == (place + 1, rows[place][column])
        for name, want in weights[(place + 1) * steps - 1].items():
            assert np.abs(kept[name] - want).max() <= 1e-6 * max(1, np.abs(want).max()), f"{name} in {file.name}"


def test_best_and_last_evaluated_again_give_the_figures_they_state(seen, monkeypatch):
    training = seen.training
    again = replace(small_data(), test=training.data.parts[training.data.choosing])
    monkeypatch.setattr("hatnet.training.checkpoint_evaluation.open_shared_data", lambda *_: again)
    rows, part = read_rows(seen), training.data.choosing
    for file in (training.folder.best, training.folder.last):
        known = about(file)
        found, row = evaluate_checkpoint(file, ALONE, batch_size=7).evaluation, rows[known["epoch"] - 1]
        assert found.accuracy == known[f"{part}_accuracy"] == row[f"{part}_accuracy"]
        assert found.top5 == row[f"{part}_top5"]
        assert found.loss == pytest.approx(row[f"{part}_loss"], rel=1e-5)
        params = {name: array.astype(float) for name, array in to_numpy(load(file)).items()}
        assert {name: row[name] for name in row if name.startswith(part)} == figures_of(
            params, training.model.config, again.test, part
        )


def test_result_of_a_run_follows_from_its_rows(seen):
    rows, training = read_rows(seen), seen.training
    result = json.loads(training.folder.facts.read_text())["result"]
    part, steps = training.data.choosing, training.sampler.steps_per_epoch
    accuracies = [row[f"{part}_accuracy"] for row in rows]
    seconds = sum(map(slice_seconds, range(2 * 3 * steps)))
    want = {
        f"{part} accuracy of the last epoch": accuracies[-1],
        f"best {part} accuracy (chosen by looking at the {part} images)": max(accuracies),
        "epoch of the best": 1 + accuracies.index(max(accuracies)),
        "seconds of training": pytest.approx(seconds, abs=0.05),
        "images per second": pytest.approx(3 * steps * 16 / seconds, abs=0.06),
        "memory in MB": max(row["memory_mb"] for row in rows),
    }
    if part == "validation":
        best = averaged(seen.params, training.recipe.ema)[want["epoch of the best"] * steps - 1]
        test = figures_of(best, training.model.config, training.data.test, "test")
        want["test of best.safetensors (once, at the end)"] = test
        assert training.result == test
    else:
        assert training.result == training.history[-1]
    assert result == want


@pytest.mark.long
def test_resumed_epoch_counts_the_steps_before_the_stop(tmp_path, monkeypatch):
    """Loss, seconds and rate of images are those of the whole epoch, not of the part after the resume."""
    monkeypatch.setattr("hatnet.training.figures.draw_curves", lambda *arguments: arguments[2].write_text(""))
    rows = []
    for name, stops in (("whole", [None]), ("stopped", [3, 7, None])):
        for stop_at in stops:
            seen = Observer(tmp_path / name, monkeypatch, replace(PLAIN, epochs=2), stop_at=stop_at, resume=True)
        rows.append([{**row, "memory_mb": 0} for row in read_rows(seen)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("metric", "part", "values", "best"),
    [
        (ACCURACY, "validation", [0.2, 0.1, 0.3, 0.3, 0.2], [1, 1, 3, 3, 3]),
        (LOSS, "test", [0.2, 0.3, 0.1, 0.1], [1, 1, 3, 3]),
    ],
    ids=["accuracy", "loss"],
)
def test_best_is_replaced_by_each_better_epoch_and_kept_otherwise(metric, part, values, best, tmp_path):
    """After every epoch, `best` is the first of the best epochs so far, and `last` is this one."""
    folder = RunFolder(tmp_path, replace(CLASSIFICATION, selection=metric))
    folder.part = part
    model, history = thin(SMALL.config(10, 1)), []
    for epoch, (value, best_epoch) in enumerate(zip(values, best, strict=True), start=1):
        torch.nn.init.constant_(model.classifier.bias, float(epoch))
        history.append({"epoch": epoch, "train_loss": 0.0, metric.column(part): value})
        folder.write_epoch(model, {"epoch": epoch}, history)
        for file, want in ((folder.best, best_epoch), (folder.last, epoch)):
            assert about(file)["epoch"] == want
            assert load(file).classifier.bias.tolist() == [float(want)] * 10
