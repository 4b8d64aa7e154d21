"""Dense tasks in the loop: bits after an interruption, weights to start from, several processes, refusals."""

import json
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import hatnet
from hatnet.data import DataError
from hatnet.dense import SemanticFPN
from hatnet.training import Monitor, Processes, Training, get_recipe
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.initial_weights import random_network
from hatnet.training.learner import WeightAverage, learning_rate
from hatnet.training.networks import BODY, body_of
from hatnet.training.optimiser import adamw, freeze_backbone, layer_of
from hatnet.training.resuming import load_state
from hatnet.training.run_folder import read_metrics
from hatnet.training.tasks import task_of
from hatnet.weights.checkpoints import CheckpointError, about
from tests.training.dense_runs import SMALL, THIN, data_for, recipe_for, resume_in_child
from tests.training.kills import kill_at_random
from tests.training.runs import ALONE, digests, small_data, stop_after
from tests.training.runs import SMALL as CLASSES

TASKS = ("segmentation", "detection", "instances")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the data."""
    path = tmp_path_factory.mktemp("dense") / "data"
    data_for("segmentation", path)
    return path


def start(out, task, data, **options) -> Training:
    recipe = options.pop("recipe", recipe_for(task))
    return Training(recipe, data_for(task, data), out, ALONE, build=THIN[task], **options)


LONG = [pytest.param(task, marks=pytest.mark.long) for task in ("detection", "instances")]


@pytest.fixture(scope="module", params=["segmentation", *LONG])
def whole(request, folder, tmp_path_factory):
    """The task and the folder of a training that was not interrupted."""
    out = tmp_path_factory.mktemp(request.param)
    start(out, request.param, folder).run()
    return request.param, out


def outcome(task, out):
    """Digests of all weights, and the metrics without times."""
    weights = {
        f"{part} {name}": digest
        for part in ("last", "best")
        for name, digest in digests(hatnet.load(out / f"{part}.safetensors", task=task)).items()
    }
    rows = [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second", "memory_mb")}
        for row in read_metrics(out / "metrics.csv")
    ]
    return weights, repr(rows)


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.long), 4])
def test_a_stopped_training_resumes_bit_for_bit(whole, folder, tmp_path, after, monkeypatch):
    """Batch normalisation has statistics and counters, which the state must hold too."""
    task, finished = whole
    monkeypatch.setattr("hatnet.training.loop.CHECK_EVERY", 1)
    training = start(tmp_path, task, folder)
    training.run(stop_after(after))
    assert training.step == after
    del training
    start(tmp_path, task, folder, resume=True).run()
    assert outcome(task, tmp_path) == outcome(task, finished)


@pytest.mark.long
def test_a_killed_training_resumes_bit_for_bit(whole, folder, tmp_path):
    """SIGKILL at random times; every other one hits a save."""
    task, finished = whole
    train = partial(resume_in_child, task, folder)
    generator = np.random.default_rng(4)
    for number in count():
        kills = kill_at_random(tmp_path / str(number), generator, longest=0.3, train=train)
        assert outcome(task, tmp_path / str(number)) == outcome(task, finished)
        if kills >= 2:  # the second is the first that hits a save
            break


@pytest.mark.long
def test_the_seed_decides_every_bit_and_workers_none(whole, folder, tmp_path):
    task, finished = whole
    start(tmp_path / "workers", task, folder, workers=1).run()
    assert outcome(task, tmp_path / "workers") == outcome(task, finished)
    start(tmp_path / "other", task, folder, recipe=replace(recipe_for(task), seed=4, epochs=1)).run()
    assert outcome(task, tmp_path / "other")[0] != outcome(task, finished)[0]


def test_records_have_the_metrics_of_the_task(whole, folder):
    task, out = whole
    selected = {"segmentation": "test_mean_IoU", "detection": "test_box_AP", "instances": "test_mask_AP"}[task]
    (row, _), facts = read_metrics(out / "metrics.csv"), json.loads((out / "run.json").read_text())
    assert selected in row
    assert selected.replace("_", " ", 1) + " of the last epoch" in facts["result"]
    known = about(out / "last.safetensors")
    assert known["classes"] == list(data_for(task, folder).classes)
    assert known["recipe"]["task"] == task
    model = hatnet.load(out / "last.safetensors", task=task)
    assert model.transform.image_mean == list(known["mean"])


def test_evaluating_the_weights_repeats_the_test_of_the_last_epoch(whole, tmp_path):
    _, out = whole
    found = evaluate_checkpoint(out / "last.safetensors", ALONE, data_dir=tmp_path)
    row = read_metrics(out / "metrics.csv")[-1]
    for metric in found.task.metrics:
        if metric.column() in row and row[metric.column()] == row[metric.column()]:
            assert metric.value(found.evaluation) == pytest.approx(row[metric.column()], rel=1e-5), metric.name


def test_validation_images_choose_the_weights_that_are_tested_once(folder, tmp_path):
    recipe = replace(SMALL, validation=0.25, epochs=1, warmup_epochs=0)
    training = start(tmp_path, "segmentation", folder, recipe=recipe)
    (row,) = training.run()
    assert "validation_mean_IoU" in row
    assert len(training.data.train) == 9
    found = evaluate_checkpoint(tmp_path / "best.safetensors", ALONE, data_dir=tmp_path).evaluation
    assert found.mean_iou == pytest.approx(training.result["test_mean_IoU"])


def test_the_longer_side_of_a_detector_stays_within_the_bounds_of_files():
    recipe = replace(recipe_for("detection"), image_size=4096)
    assert task_of(recipe).build(recipe.config(2, 3)).facts()["settings"]["max_size"] == 4096


def test_a_state_holds_the_statistics_and_counters_of_batch_normalisation(folder, tmp_path):
    training = start(tmp_path, "segmentation", folder)
    training.run(Monitor(stop=True))
    name = "head.levels.0.0.1"
    tensors = load_state(tmp_path / "state.safetensors")[0].tensors
    for section, network in training.learner.networks.items():
        own = network.state_dict()
        assert int(tensors[f"{section}{name}.num_batches_tracked"]) == 2, "one step has two slices"
        assert torch.equal(tensors[f"{section}{name}.running_var"], own[f"{name}.running_var"])
        assert not torch.equal(own[f"{name}.running_var"], torch.ones(4))


def test_statistics_are_copied_into_the_average_and_weights_are_averaged():
    model = THIN["segmentation"](SMALL.config(3, 3))
    average = WeightAverage(model, 0.5)
    first = model.head.classifier.weight.detach().clone()
    with torch.no_grad():
        model.head.levels[0][0][1].running_mean.fill_(7)
        model.head.classifier.weight.add_(1)
    average.update(model, 100)
    assert (average.model.head.levels[0][0][1].running_mean == 7).all()
    assert torch.allclose(average.model.head.classifier.weight, first + 0.5)


def test_fan_in_reaches_the_hat_net_and_no_head():
    config = SMALL.config(3, 3)
    torch.manual_seed(0)
    drawn = random_network(SMALL, config, THIN["segmentation"]).state_dict()
    plain = random_network(replace(SMALL, initial_weights="authors"), config, THIN["segmentation"]).state_dict()
    kernel = f"{BODY}stages.1.downsample.conv.weight"
    assert float(drawn[kernel].std()) == pytest.approx(1 / np.sqrt(drawn[kernel][0].numel()), rel=0.2)
    assert float(plain[kernel].std()) == pytest.approx(0.02, rel=0.2)
    assert float(drawn["head.classifier.weight"].std()) == pytest.approx(0.01, rel=0.5)


@pytest.mark.parametrize("task", TASKS)
def test_layers_of_a_dense_model_are_those_of_its_hat_net_and_the_rest_is_the_head(task):
    model = THIN[task](SMALL.config(3, 3))
    depths = model.config.depths
    for name, _ in model.named_parameters():
        expected = layer_of(name.removeprefix(BODY), depths) if name.startswith(BODY) else sum(depths) + 1
        assert layer_of(name, depths) == expected
    decayed = adamw(model, replace(SMALL, layer_decay=0.5))
    rates = {weight: group["rate"] for group in decayed.param_groups for weight in group["params"]}
    assert rates[body_of(model).stem.conv1.weight] == 0.5 ** (sum(depths) + 1)
    assert rates[model.backbone.fpn.inner_blocks[0][0].weight] == 1


@pytest.mark.long
def test_head_only_trains_pyramid_and_heads(folder, tmp_path):
    start(tmp_path / "first", "segmentation", folder).run()
    weights = str(tmp_path / "first" / "last.safetensors")
    recipe = replace(SMALL, weights=weights, head_only=True, epochs=1, warmup_epochs=0, ema=0.0)
    training = start(tmp_path / "second", "segmentation", folder, recipe=recipe)
    before = digests(training.model)
    training.run()
    changed = {name for name, digest in digests(training.model).items() if digest != before[name]}
    assert changed == {name for name in before if not name.startswith(BODY)}
    model = THIN["segmentation"](SMALL.config(3, 3))
    freeze_backbone(model)
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == {
        name for name, _ in model.named_parameters() if name.startswith(BODY)
    }


def kept_classes(out):
    return about(out / "last.safetensors")["classes"]


def test_weights_of_the_same_task_and_classes_are_kept_whole_and_others_give_their_hat_net(whole, folder, tmp_path):
    task, out = whole
    kept = hatnet.load(out / "last.safetensors", task=task)
    recipe = replace(recipe_for(task), weights=str(out))
    training = start(tmp_path / "same", task, folder, recipe=recipe)
    assert any("Pyramid and heads of the weights are kept: the same" in line for line in training.start.lines)
    assert digests(training.model) == digests(kept)
    renamed = replace(data_for(task, folder), classes=tuple(f"{name}s" for name in kept_classes(out)))
    training = Training(recipe, renamed, tmp_path / "renamed", ALONE, build=THIN[task])
    assert any("other classes" in line for line in training.start.lines)
    assert digests(training.model) != digests(kept)
    hatnet.save(kept, tmp_path / "nameless.safetensors")
    recipe = replace(recipe, weights=str(tmp_path / "nameless.safetensors"))
    training = start(tmp_path / "named", task, folder, recipe=recipe)
    assert any(line.endswith("the weights are for classes without names.") for line in training.start.lines)
    other = "detection" if task != "detection" else "segmentation"
    training = start(tmp_path / "other", other, folder, recipe=replace(recipe_for(other), weights=str(out)))
    assert any(
        f"Pyramid and heads are new; the weights are for {type(kept).__name__}" in line for line in training.start.lines
    )
    assert digests(body_of(training.model)) == digests(body_of(kept))


def test_classification_weights_start_a_dense_model_with_dense_windows(folder, tmp_path):
    """The weights are for grey images of Fashion-MNIST; a colour image must give the maps of its grey version."""
    recipe = replace(SMALL, weights="fashion-mnist", width=16, stem_strides=None)
    training = Training(recipe, data_for("segmentation", folder), tmp_path, ALONE)
    source = hatnet.create_model("micro", pretrained="fashion-mnist")
    assert (training.model.config.grid_sizes, training.model.config.pool_sizes) == ((8, 8), (8, 4))
    lines = "\n".join(training.start.lines)
    assert "Pyramid and heads are new; the weights are for classification." in lines
    assert "The first convolution is adapted from grey to colour" in lines
    assert training.model.transform.image_mean == pytest.approx(list(training.data.mean))
    own, theirs = digests(body_of(training.model)), digests(source)
    assert {name for name in own if own[name] != theirs[name]} == {"stem.conv1.weight"}
    assert training.recipe.grid_sizes == (8, 8), "the record names the windows"


def test_dense_weights_cannot_start_a_classification(folder, tmp_path):
    start(tmp_path / "first", "segmentation", folder, recipe=replace(SMALL, epochs=1, warmup_epochs=0)).run()
    recipe = replace(CLASSES, weights=str(tmp_path / "first"))
    with pytest.raises(CheckpointError, match="holds a model for segmentation, not for classification"):
        Training(recipe, small_data(), tmp_path / "second", ALONE)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": None}, "scales=None trains on whole images, which segmentation cannot"),
        ({"scales": (2.0, 0.5)}, r"scales=\(2.0, 0.5\) must be the smaller and the larger one"),
        ({"scales": (0.0, 1.0)}, "scales=0.0 must be from 0.05 to 20"),
        ({"mixup": 0.5}, "mixup=0.5 is for classification, not for task='segmentation'"),
        ({"crop_padding": 0}, "crop_padding=0 is for classification"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 is for classification"),
        ({"task": "classification"}, "width=8 is for segmentation, detection and instances, not for task='classific"),
        ({"task": "panoptic"}, "task='panoptic' must be"),
        ({"task": "detection", "compile": True}, "compile=True does not support task='detection'"),
        ({"task": "classification", "width": 256, "scales": None, "distort": True}, "distort=True is for segmentation"),
        ({"distort": 1}, "distort=1 must be of the type bool"),
        ({"schedule": "linear"}, "schedule='linear' must be"),
        ({"image_size": 8}, "too small"),
    ],
)
def test_impossible_recipes_are_refused(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        replace(SMALL, **changes)


def test_data_of_another_kind_and_odd_widths_are_refused_before_work_starts(folder, tmp_path):
    with pytest.raises(
        DataError, match="fashion-subset has one class per image, but the task needs one class per pixel"
    ):
        Training(SMALL, small_data(), tmp_path / "run", ALONE)
    with pytest.raises(DataError, match="boxes and masks of objects, but the task needs one class per image"):
        Training(CLASSES, data_for("detection", folder), tmp_path / "run", ALONE)
    with pytest.raises(ValueError, match="width=9 must be even"):
        Training(replace(SMALL, width=9), data_for("segmentation", folder), tmp_path / "run", ALONE)
    assert not (tmp_path / "run").exists()


def test_the_recipe_reaches_the_model():
    """Sizes of images, regions, width; 1333 is 5/3 of 800."""
    for task in TASKS:
        recipe = replace(recipe_for(task), image_size=60, width=12)
        model = task_of(recipe).build(recipe.config(4, 3))
        assert (type(model).task, model.width) == (task, 12)
        if task == "segmentation":
            assert isinstance(model, SemanticFPN)
            continue
        assert (model.transform.min_size, model.transform.max_size) == ((60,), 100)
        if task == "instances":
            assert model.roi_heads.fg_bg_sampler.batch_size_per_image == 8
    coco = get_recipe("coco-maskrcnn")
    assert (task_of(coco).image_size, 5 * coco.image_size // 3) == (800, 1333)


def test_schedules_follow_their_formulas():
    poly = [learning_rate(step, 10, 0, 1.0, 0.0, 0.0, "poly") for step in range(11)]
    assert poly == pytest.approx([(1 - step / 10) ** 0.9 for step in range(11)])
    steps = [learning_rate(step, 24, 2, 1.0, 0.0, 0.5, "steps") for step in range(24)]
    assert steps == pytest.approx([0, 0.5] + 14 * [1] + 6 * [0.1] + 2 * [0.01])
    with pytest.raises(ValueError, match="schedule"):
        learning_rate(1, 10, 0, 1.0, schedule="none")


def test_the_published_schedules_of_dense_tasks():
    """Sections 4.2 and 4.3 of the paper; steps and warm-up from PVT."""
    ade, coco = (get_recipe(name) for name in ("ade20k", "coco-retinanet"))
    for recipe in (ade, coco):
        assert (recipe.lr, recipe.weight_decay, recipe.batch_size, recipe.width) == (1e-4, 1e-4, 16, 256)
        config = recipe.config(10, 3)
        assert (config.grid_sizes, config.pool_sizes) == ((8, 8, 8), (16, 8, 4))
    assert abs(ade.epochs * (20_210 // 16) - 80_000) < 20_210 // 16
    assert (ade.image_size, ade.schedule, ade.scales, ade.distort) == (512, "poly", (0.5, 2.0), True)
    assert not coco.distort
    assert (coco.epochs, coco.schedule, coco.scales, coco.image_size) == (12, "steps", None, 800)
    assert round(coco.warmup_epochs * (118_287 // 16)) == 500


def test_statistics_are_averaged_over_processes(monkeypatch):
    model = torch.nn.BatchNorm2d(3)
    model.num_batches_tracked.fill_(5)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.mul_(2).add_(2))
    Processes(0, 2, torch.device("cpu")).average_buffers(model)
    assert model.running_mean.tolist() == [1, 1, 1]
    assert model.running_var.tolist() == [2, 2, 2]
    assert int(model.num_batches_tracked) == 5
    Processes(0, 1, torch.device("cpu")).average_buffers(model)
    assert model.running_mean.tolist() == [1, 1, 1]


def test_the_wrapped_network_computes_the_loss(folder, tmp_path):
    """With several processes gradients are averaged only in a pass through the wrapped network."""
    training = start(tmp_path, "segmentation", folder)
    called = []
    inner = training.learner.network
    training.learner.network = torch.nn.Sequential(inner)
    training.learner.network.register_forward_hook(lambda *_: called.append(1))
    training.learner.take_step(training.batches)
    assert len(called) == 2
    assert not isinstance(inner, DistributedDataParallel)


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_whose_label_cannot_be_read_is_named_and_left_out(part, folder, tmp_path, capfd):
    """In training its neighbour takes its place."""
    data = data_for("segmentation", folder)
    images, label = getattr(data, part), getattr(data, part).label

    def damaged(index):
        if index == 2:
            raise DataError("annotation 7 is damaged")
        return label(index)

    images.label = damaged
    training = Training(replace(SMALL, epochs=1, warmup_epochs=0), data, tmp_path, ALONE, build=THIN["segmentation"])
    training.run()
    word = "left out, its neighbour taken" if part == "train" else "left out of the test"
    assert f"{word}: annotation 7 is damaged" in capfd.readouterr().out
