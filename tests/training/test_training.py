"""Training: the same bits after any interruption, the same result for any number of processes, and nothing lost."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from hatnet.cli.main import main
from hatnet.config import HATNetConfig
from hatnet.data import DataError, ImageFolder, ImageTensor, Split, fingerprint, open_data
from hatnet.data.transforms import for_testing
from hatnet.models import create_model
from hatnet.network import HATNet
from hatnet.training import NonFiniteLossError, Training, Watch, World, join
from hatnet.training.batches import batches_for_testing
from hatnet.training.checkpoint_evaluation import Examination, examine
from hatnet.training.evaluation import Evaluation, evaluate
from hatnet.training.initial_weights import fan_in, first_recipe
from hatnet.training.recipes import EXPECT, RECIPES, Recipe, from_json, get_recipe, to_json
from hatnet.training.run_folder import COLUMNS, read_metrics
from hatnet.training.sampling import Order
from hatnet.training.schedule import learning_rate
from hatnet.training.state import load_state
from hatnet.training.weight_average import WeightAverage
from hatnet.weights.checkpoints import CheckpointError, about, load, save
from tests.training.runs import ALONE, SMALL, kill_at_random, outcome, run, small_data, thin
from tests.training.test_data import write_folder

# --- The order of images ---------------------------------------------------------------------------------------------

orders = st.builds(
    lambda slices, slice_size, extra, epochs, seed, repeats: Order(
        slices * slice_size * 2 + extra, slices * slice_size, slice_size, epochs, seed, repeats
    ),
    st.sampled_from([1, 2, 4, 6]),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(0, 2**32),
    st.integers(1, 3),
)


@given(orders, st.data())
def test_processes_together_draw_what_one_draws_alone(order, data):
    world = data.draw(st.sampled_from([size for size in (1, 2, 3, 6) if order.slices % size == 0]))
    alone = list(order.slices_of(0, 1))
    share = order.share(world)
    together = [list(order.slices_of(rank, world)) for rank in range(world)]
    woven = [
        together[rank][step * share + within]
        for step in range(order.steps)
        for rank in range(world)
        for within in range(share)
    ]
    assert woven == alone


@given(orders, st.data())
def test_a_training_that_goes_on_draws_the_rest(order, data):
    step = data.draw(st.integers(0, order.steps))
    assert list(order.slices_of(0, 1, step)) == list(order.slices_of(0, 1))[step * order.slices :]


@given(orders)
def test_an_epoch_shows_no_image_more_often_than_it_repeats(order):
    for number in range(order.epochs):
        counts = np.bincount(order.epoch(number), minlength=order.images)
        assert counts.max() <= order.repeats
        assert counts.sum() == order.images


def test_repeated_images_share_a_batch_and_are_never_neighbours():
    order = Order(1000, 64, 64, 1, seed=0, repeats=3)
    epoch = order.epoch(0)
    for start in range(0, 960, 64):
        batch = epoch[start : start + 64]
        assert len(set(batch)) in (22, 23), "a third of 64, and one cut off at each end"
        assert all(one != other for one, other in pairwise(batch))


def test_every_epoch_has_its_own_order_and_every_draw_its_own_position():
    order = Order(40, 8, 4, 3, seed=0)
    assert order.epoch(0) != order.epoch(1)
    positions = [draw.position for slice_ in order.slices_of(0, 1) for draw in slice_]
    assert len(set(positions)) == len(positions) == 3 * 40


def test_batches_that_can_not_be_shared_out_are_refused():
    with pytest.raises(ValueError, match="slice_size=3 must divide batch_size=8"):
        Order(40, 8, 3, 1, 0)
    with pytest.raises(ValueError, match="3 processes can't share the 2 slices of a batch evenly: make batch_size=8"):
        Order(40, 8, 4, 1, 0).share(3)
    with pytest.raises(ValueError, match="batch_size=64 is more than the 40 images"):
        Order(40, 64, 4, 1, 0)


# --- The schedule and the average ------------------------------------------------------------------------------------


@given(st.integers(2, 200), st.data())
def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [learning_rate(step, steps, warmup, 1.0, 0.1, 0.01) for step in range(steps + 1)]
    assert np.allclose(rates[:warmup], [0.1 + 0.9 * step / warmup for step in range(warmup)])
    assert rates[warmup] == 1.0
    assert math.isclose(rates[-1], 0.01)
    middle = (rates[warmup] + rates[-1]) / 2
    half = warmup + (steps - warmup) / 2
    assert all(rate >= middle - 1e-12 for step, rate in enumerate(rates) if warmup <= step <= half)
    assert all(earlier >= later for earlier, later in zip(rates[warmup:], rates[warmup + 1 :], strict=False))


def test_averaged_weights_follow_their_formula():
    model = create_model("micro", in_channels=1)
    average = WeightAverage(model, 0.9)
    want = model.classifier.weight.detach().double()
    for step in range(30):
        with torch.no_grad():
            model.classifier.weight.add_(torch.randn_like(model.classifier.weight))
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * model.classifier.weight.detach().double()
    assert torch.allclose(average.model.classifier.weight.double(), want, atol=1e-6)


def test_fan_in_weights_keep_the_size_of_what_passes():
    torch.manual_seed(0)
    model = create_model("tiny")
    fan_in(model)
    for layer in (model.stem.conv2, model.stages[2].blocks[0].mlp.expand, model.stages[1].blocks[0].mlp.depthwise):
        spread = float(layer.weight.detach().std()) * math.sqrt(layer.weight[0].numel())
        assert 0.8 < spread < 1.1


# --- Evaluation ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7))
def test_processes_together_test_every_image_once(images, world, batch_size):
    seen = []
    data = ImageTensor(torch.arange(images).view(-1, 1, 1, 1), torch.arange(images))
    for rank in range(world):
        for _, labels in batches_for_testing(data, lambda image: image, rank, world, batch_size, 0):
            assert len(labels) <= batch_size
            seen += labels.tolist()
    assert sorted(seen) == list(range(images))


def test_a_test_image_that_goes_bad_is_left_out_and_the_others_are_seen_once(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path, images=5, size=(28, 28))}")
    bad = [data.test.paths[index] for index in (0, 2, 4)]  # of process 0 of 2 a whole batch and half of another
    batches = [batches_for_testing(data.test, for_testing(SMALL, data), rank, 2, 2, 0) for rank in (0, 1)]
    for path in bad:
        path.unlink()
    seen = [sum(len(labels) for _, labels in part) for part in batches]
    assert seen == [2, 5]
    printed = capsys.readouterr().out
    assert all(printed.count(f"left out of the test: no image file at {path}") == 1 for path in bad)


def test_a_test_of_which_no_image_can_be_read_says_so(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path, size=(28, 28))}")
    for path in data.test.paths:
        path.unlink()
    batches = batches_for_testing(data.test, for_testing(SMALL, data), 0, 1, 4, 0)
    with pytest.raises(DataError, match="not one test image can be read: the data has gone bad, or its disk is away"):
        evaluate(thin(SMALL.config(2, 3)), batches, ALONE)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_test_image_that_goes_bad_during_training_does_not_end_it(workers, tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'data', images=8, size=(28, 28))}")
    training = Training(replace(SMALL, epochs=2), data, tmp_path / "run", ALONE, build=thin, workers=workers)
    data.test.paths[3].unlink()
    rows = training.run()
    assert len(rows) == 2
    assert all(15 * row["test_accuracy"] % 1 == pytest.approx(0, abs=1e-9) for row in rows), "15 images are counted"


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


def test_a_process_alone_asks_no_device(monkeypatch):
    """On a GPU the answer would have to be waited for, after every step."""
    monkeypatch.setattr(World, "sum", lambda *_: pytest.fail("asked the device"))
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.of_first(7) == 7


# --- Interruptions ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a training that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def test_two_trainings_with_one_seed_are_equal_to_the_last_bit(whole, tmp_path):
    run(tmp_path)
    assert outcome(tmp_path) == outcome(whole)


def test_processes_that_prepare_images_change_no_bit(whole, tmp_path):
    run(tmp_path, workers=1)
    assert outcome(tmp_path) == outcome(whole)


def test_another_seed_is_another_training(whole, tmp_path):
    run(tmp_path, replace(SMALL, seed=4))
    assert outcome(tmp_path)[0] != outcome(whole)[0]


@pytest.mark.parametrize("after", [1, 4, 10])
def test_a_training_asked_to_stop_goes_on_bit_for_bit(whole, tmp_path, after, monkeypatch):
    monkeypatch.setattr("hatnet.training.loop.LOOK_EVERY", 1)
    watch = Watch()
    watch.report = lambda progress: setattr(watch, "stop", progress.step == after)
    stopped = run(tmp_path, watch=watch)
    assert stopped.step == after, "a training that is asked to stop does"
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_training_without_an_average_holds_no_copy_of_its_weights_and_goes_on_bit_for_bit(tmp_path):
    plain, watch = replace(SMALL, ema=0.0), Watch()
    run(tmp_path / "whole", plain)
    watch.report = lambda progress: setattr(watch, "stop", progress.step == 10)
    assert run(tmp_path / "stopped", plain, watch=watch).average is None
    state, _ = load_state(tmp_path / "stopped" / "state.safetensors")
    assert {name.split(".")[0] for name in state.tensors} == {"model", "optimiser"}
    ended = run(tmp_path / "stopped", plain, resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    for name, tensor in load(tmp_path / "stopped" / "last.safetensors").state_dict().items():
        assert torch.equal(ended.model.state_dict()[name], tensor), name


def test_a_training_goes_on_though_files_have_gone_bad_since_its_start(tmp_path, capfd):
    """What it left out at the start stays out; what has gone bad since is passed over."""
    data = open_data(f"folder:{write_folder(tmp_path / 'data', images=9, size=(28, 28))}")
    paths = data.train.paths
    paths[3].write_text("not an image")
    command = [
        "hatnet", "train", "fashion-quick", "--data", data.name, "--data-dir", str(tmp_path), "--out",
        str(tmp_path / "run"), "--epochs", "2", "--batch-size", "8", "--slice-size", "8", "--workers", "0", "--device",
        "cpu", "--resume",
    ]  # fmt: skip

    def train(watch: Watch) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hatnet.training.loop.Watch", lambda: watch)
            patch.setattr(sys, "argv", command)
            main()

    with pytest.raises(SystemExit, match="130"):
        train(Watch(stop=True))
    assert load_state(tmp_path / "run" / "state.safetensors")[0].left_out == {"train": [3], "test": []}
    paths[3].write_bytes(paths[4].read_bytes())
    paths[0].write_bytes(paths[0].read_bytes()[:99])
    data.test.paths[2].write_text("not an image")
    train(Watch())
    printed = capfd.readouterr().out
    assert f"left out, its neighbour taken: {paths[0]}" in printed
    assert f"left out of the test: {data.test.paths[2]}" in printed
    assert "17 training and 18 test images" in " ".join(printed.split())
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2


def test_a_training_that_is_killed_goes_on_bit_for_bit(whole, tmp_path):
    """SIGKILL at random times, until it ends by itself; `python -m tests.training.runs 100` kills a hundred."""
    kills = kill_at_random(tmp_path, np.random.default_rng(1), longest=1.0)
    assert outcome(tmp_path) == outcome(whole)
    assert kills >= 1, "a test that never kills can't fail"


def test_a_scheduler_that_ends_all_processes_of_a_training_ends_it_in_order(tmp_path):
    """SIGTERM to the whole group, those that prepare images too."""
    command = [sys.executable, "-m", "hatnet", "train", "fashion-quick", "--workers", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True) as child:
        while not (tmp_path / "run.json").exists():
            assert child.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        os.killpg(child.pid, signal.SIGTERM)
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "nothing is lost" in said
    assert load_state(tmp_path / "state.safetensors")[0].step > 0


def test_a_full_disk_leaves_the_last_good_state(whole, tmp_path):
    """The system refuses files above a size, as a full disk would; then there is room again."""
    run(tmp_path, watch=Watch(stop=True))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    child = multiprocessing.get_context("fork").Process(target=_run_with_small_files, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 3, "it ends with an OSError"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()}["state.safetensors"] == before[
        "state.safetensors"
    ]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "no half-written files are left"
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def _run_with_small_files(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        run(folder, resume=True)
    except OSError:
        os._exit(3)


def test_a_state_holds_no_generators_and_no_pickle(whole):
    state, recipe = load_state(whole / "state.safetensors")
    assert recipe == SMALL
    assert {name.split(".")[0] for name in state.tensors} == {"model", "average", "optimiser"}
    assert state.step == 15


# --- Several processes -----------------------------------------------------------------------------------------------


def test_slices_one_after_the_other_give_the_gradient_of_the_whole_batch(tmp_path):
    """Eq. of accumulation: the mean over slices of the mean over their images is the mean over the batch."""
    plain = replace(
        SMALL, epochs=1, mixup=0.0, cutmix=0.0, drop_path=0.0, classifier_drop=0.0, warmup_epochs=0.0, ema=0.0
    )
    weights = []
    for slice_size in (16, 8, 2):
        training = Training(
            replace(plain, slice_size=slice_size), small_data(), tmp_path / str(slice_size), ALONE, build=thin
        )
        training.optimiser = torch.optim.SGD(training.model.parameters(), lr=0.0)  # AdamW would magnify rounding
        training.take_step()
        training.learning_rate = lambda step: 1.0  # type: ignore[method-assign]
        training.take_step()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()]))
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, rtol=0, atol=1e-5)


def test_two_processes_under_torchrun_train_what_one_trains(tmp_path):
    """Everything random on, 25 test images: not a multiple of anything. One file is broken."""
    data = write_folder(tmp_path / "data", images=13, size=(28, 28))
    (tmp_path / "data" / "val" / "dog" / "12.png").unlink()
    (tmp_path / "data" / "train" / "cat" / "5.png").write_text("not an image")
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone", "-m",
            "hatnet", "train", "fashion-quick", "--data", f"folder:{data}", "--epochs", "2", "--batch-size", "8",
            "--slice-size", "2", "--mixup", "0.8", "--drop-path", "0.2", "--classifier-drop", "0.2",
            "--out", str(folder), "--data-dir", str(tmp_path), "--device", "cpu", "--workers", "0",
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("Done:") == 1, "only the first process prints"
        assert "1 of 26 training images can't be read" in ended.stdout
        assert "neighbour taken" not in ended.stdout, "both leave it out from the start"
        found.append((load(folder / "last.safetensors"), read_metrics(folder / "metrics.csv")))
    (one, one_rows), (two, two_rows) = found
    for (name, parameter), other in zip(one.named_parameters(), two.parameters(), strict=True):
        if not name.endswith(("qkv.bias", "kv.bias")):  # softmax ignores a key's bias, so AdamW magnifies its rounding
            limit = 1e-3 * float(other.detach().abs().max()) + 1e-6
            assert torch.allclose(parameter, other, rtol=0, atol=limit), name
    images = torch.randn(5, 3, 28, 28)
    assert torch.allclose(one(images), two(images), rtol=0, atol=1e-3)
    for one_row, two_row in zip(one_rows, two_rows, strict=True):
        assert math.isclose(one_row["train_loss"], two_row["train_loss"], rel_tol=1e-4)
        assert math.isclose(one_row["test_loss"], two_row["test_loss"], rel_tol=1e-4)
        assert (25 * two_row["test_accuracy"]) % 1 in (pytest.approx(0), pytest.approx(1)), "25 images, each once"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--seed", "not all processes were given the same recipe and see the same images and labels"),
        ("--out", "not all processes see the state in {tmp}/1: it must lie on a disk that all machines share"),
    ],
)
def test_processes_that_were_told_other_things_refuse_to_train_together(option, words, tmp_path):
    """Each machine has a command line and disks of its own. Here --seed or --out ends in the number of the process."""
    data, first = write_folder(tmp_path / "data", images=9, size=(28, 28)), tmp_path / "0"
    command = [
        "hatnet", "train", "fashion-quick", "--data", f"folder:{data}", "--data-dir", str(tmp_path), "--epochs", "2",
        "--batch-size", "8", "--slice-size", "4", "--workers", "0", "--device", "cpu", "--resume", "--out", str(first),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hatnet.training.loop.Watch", lambda: Watch(stop=True))
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit, match="130"):
            main()  # leaves a state after one step
    before = (first / "state.safetensors").read_bytes()
    if option == "--seed":
        shutil.rmtree(first)
    number = "os.environ['RANK']" if option == "--seed" else f"{str(tmp_path)!r} + '/' + os.environ['RANK']"
    script = tmp_path / "told.py"
    script.write_text(
        f"import os, sys\nfrom hatnet.cli.main import main\nsys.argv = {command!r} + [{option!r}, {number}]\nmain()\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(torchrun, capture_output=True, text=True, timeout=120, env=os.environ | here)
    assert ended.returncode != 0
    assert f"error: {words.format(tmp=tmp_path)}" in ended.stderr
    assert not (tmp_path / "1").exists()
    assert not first.exists() or (first / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("device", ["mps", "meta", "gpu", "cuda:x"])
def test_only_cpus_and_gpus_train(device):
    with pytest.raises(ValueError, match=f"device='{device}' must be cpu, cuda or one GPU such as cuda:1"):
        join(device).__enter__()


def test_several_processes_that_torchrun_did_not_start_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="WORLD_SIZE=2 is set but not RANK, .*start several processes with torchrun"):
        join("cpu").__enter__()


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    for name, value in {"WORLD_SIZE": 4, "RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        ValueError, match="4 processes on this machine, but 2 GPUs: start torchrun with --nproc-per-node 2"
    ):
        join("cuda").__enter__()


# --- Learning, and what is kept of it --------------------------------------------------------------------------------


def test_a_thin_network_learns_the_few_images_it_is_shown(tmp_path):
    recipe = replace(
        SMALL, epochs=30, warmup_epochs=1, batch_size=8, rand_augment=0, erasing=0.0, mixup=0.0, cutmix=0.0,
        label_smoothing=0.0, crop_padding=0, flip=False, drop_path=0.0, classifier_drop=0.0, lr=1e-2,
    )  # fmt: skip
    data = small_data(train=4)
    training = Training(recipe, replace(data, test=data.train), tmp_path, ALONE, build=thin)
    training.draw_curves = lambda *_: None  # thirty times would take longer than training
    history = training.run()
    assert history[-1]["test_accuracy"] > 0.9


def test_a_run_keeps_its_configuration_metrics_curves_and_weights(whole):
    names = {"run.json", "metrics.csv", "curves.svg", "last.safetensors", "best.safetensors", "state.safetensors"}
    assert {path.name for path in whole.iterdir()} == names
    facts = json.loads((whole / "run.json").read_text())
    assert from_json(facts["recipe"]) == SMALL
    assert {"date", "data", "network", "precision", "hardware", "versions", "result"} <= facts.keys()
    rows = read_metrics(whole / "metrics.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert facts["result"]["test accuracy of the last epoch"] == rows[-1]["test_accuracy"]
    assert (whole / "curves.svg").read_text().count("<svg") == 1


def test_weights_say_how_they_were_trained(tmp_path):
    training = Training(replace(SMALL, epochs=1, warmup_epochs=0), small_data(), tmp_path, ALONE)
    training.run()
    known = about(tmp_path / "last.safetensors")
    assert known["data"] == "fashion-subset"
    assert known["classes"][0] == "t-shirt"
    assert from_json(known["recipe"]) == training.recipe
    loaded = load(tmp_path / "last.safetensors")
    for (name, kept), was in zip(loaded.named_parameters(), training.average.model.parameters(), strict=True):
        assert torch.equal(kept, was), name


# --- From trained weights --------------------------------------------------------------------------------------------


def start(folder: Path, recipe: Recipe, weights: Path) -> Training:
    return Training(replace(recipe, weights=str(weights)), small_data(), folder, ALONE, build=thin)


def test_a_training_can_start_from_trained_weights(whole, tmp_path):
    training = start(tmp_path, SMALL, whole / "last.safetensors")
    assert not training.fresh_classifier
    by_folder = start(tmp_path, SMALL, whole)
    for name, tensor in load(whole / "last.safetensors").state_dict().items():
        assert torch.equal(training.model.state_dict()[name], tensor), name
        assert torch.equal(by_folder.model.state_dict()[name], tensor), name
        assert torch.equal(training.average.model.state_dict()[name], tensor), name


def test_trained_weights_of_other_classes_lend_all_but_their_classifier(tmp_path):
    torch.manual_seed(0)
    other = thin(SMALL.config(7, 1))
    save(other, tmp_path / "seven.safetensors")
    training = start(tmp_path, SMALL, tmp_path / "seven.safetensors")
    assert training.fresh_classifier
    mine = training.model.state_dict()
    for name, tensor in other.state_dict().items():
        assert name.startswith("classifier") or torch.equal(mine[name], tensor), name
    assert mine["classifier.weight"].shape == (10, 16)


def test_a_classifier_of_as_many_other_classes_is_not_taken_over(whole, tmp_path):
    """Ten kinds of trees are not ten kinds of clothes."""
    trees = replace(small_data(), classes=tuple(f"tree {number}" for number in range(10)))
    recipe = replace(SMALL, weights=str(whole / "last.safetensors"))
    training = Training(recipe, trees, tmp_path, ALONE, build=thin)
    assert training.fresh_classifier
    trained = load(whole / "last.safetensors").state_dict()
    assert not torch.equal(training.model.classifier.weight, trained["classifier.weight"])
    assert torch.equal(training.model.stem.conv1.weight, trained["stem.conv1.weight"])


def test_a_training_from_trained_weights_goes_on_without_their_file(whole, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((whole / "last.safetensors").read_bytes())
    recipe = replace(SMALL, weights=str(weights))
    run(tmp_path / "left alone", recipe)
    watch = Watch()
    watch.report = lambda _: setattr(watch, "stop", True)
    run(tmp_path / "stopped", recipe, watch=watch)
    weights.unlink()
    run(tmp_path / "stopped", recipe, resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "left alone")
    known = about(tmp_path / "stopped" / "last.safetensors")
    assert known["started_from"] == about(whole / "last.safetensors")
    assert first_recipe(known) == SMALL
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["started_from"] == known["started_from"]


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    weights = tmp_path / "micro.safetensors"
    save(create_model("micro", in_channels=1), weights)
    with pytest.raises(CheckpointError, match=r"micro.safetensors does not fit(.|\n)*of another shape"):
        start(tmp_path / "run", SMALL, weights)
    with pytest.raises(FileNotFoundError, match=r"no weights to start from at .*none.safetensors: train them first"):
        start(tmp_path / "run", SMALL, tmp_path / "none.safetensors")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_training_and_says_what_to_do(tmp_path):
    training = Training(SMALL, small_data(), tmp_path, ALONE, build=thin)
    with torch.no_grad():
        training.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 1 .*lower lr than 0.003"):
        training.run()
    assert not (tmp_path / "state.safetensors").exists(), "no state is kept that can't be gone on from"


def test_weights_that_the_last_step_spoilt_are_not_kept(whole, tmp_path):
    """The loss before that step is still finite; so is the state of the epoch before, and it goes on."""
    training = Training(SMALL, small_data(), tmp_path, ALONE, build=thin)
    training.model.classifier.weight.register_hook(lambda slope: slope * (torch.inf if training.step == 9 else 1))
    with pytest.raises(NonFiniteLossError, match="not finite at step 10"):
        training.run()
    assert load_state(tmp_path / "state.safetensors")[0].step == 5
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_compiled_training_is_the_same_training(whole, tmp_path, monkeypatch):
    """As far as tracing goes; what the default backend makes of the graph is held to the reference elsewhere."""
    torch.compiler.reset()  # what other tests have compiled makes this one slow
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    training = run(tmp_path, replace(SMALL, compile=True))
    assert training.network is not training.model
    assert outcome(tmp_path) == outcome(whole)


def test_bfloat16_trains_on_a_cpu_and_float16_is_refused(tmp_path):
    history = Training(
        replace(SMALL, epochs=1, warmup_epochs=0, precision="bfloat16"), small_data(), tmp_path, ALONE, build=thin
    ).run()
    assert math.isfinite(history[0]["test_loss"])
    with pytest.raises(ValueError, match="float16' is for GPUs"):
        Training(replace(SMALL, precision="float16"), small_data(), tmp_path / "half", ALONE, build=thin)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_trains_on_a_gpu(precision, device, tmp_path):
    recipe = replace(SMALL, precision=precision)
    with join(device) as world:
        history = Training(recipe, small_data(), tmp_path, world, build=thin).run()
    assert math.isfinite(history[-1]["test_loss"])


def test_a_gpu_may_be_asked_for_with_a_number_or_without(monkeypatch):
    """PyTorch takes "cuda" for the one in use, but does not let it be chosen."""
    chosen = []
    monkeypatch.setattr("hatnet.training.distributed.usable_device", torch.device)  # as if there were one here
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    for name, numbers in (("cuda", []), ("cuda:1", [1])):
        with join(name) as world:
            assert world.device == torch.device(name)
        assert chosen == numbers


# --- Bad input -------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_overwritten(whole):
    before = outcome(whole)
    with pytest.raises(ValueError, match="holds a run already: give --resume"):
        run(whole)
    assert outcome(whole) == before


def test_a_state_of_another_recipe_is_refused_with_the_differences(whole):
    with pytest.raises(CheckpointError, match=r"another recipe.*\nseed: 9 here, 3 there\nlr: 0.1 here, 0.003 there"):
        run(whole, replace(SMALL, lr=0.1, seed=9), resume=True)


def test_a_state_of_another_network_is_refused_with_the_differences(whole):
    """The recipe names a variant, and a later version may mean another network by it."""

    def other(config: HATNetConfig) -> HATNet:
        return thin(replace(config, grid_sizes=(3, 2)))

    with pytest.raises(CheckpointError, match=r"of another network.*\ngrid_sizes: \[3, 2\] here, \[8, 4\] there"):
        Training(SMALL, small_data(), whole, ALONE, resume=True, build=other)


def test_a_state_of_other_data_is_refused_with_the_differences(whole):
    with pytest.raises(CheckpointError, match=r"of another data set(.|\n)*training images: 70 here, 80 there"):
        Training(SMALL, small_data(train=7), whole, ALONE, resume=True, build=thin)
    data = small_data()
    inverted = replace(data, train=ImageTensor(255 - data.train.pixels, data.train.labels))
    with pytest.raises(CheckpointError, match=r"of another data set(.|\n)*pixels or files: \w+ here, \w+ there"):
        Training(SMALL, inverted, whole, ALONE, resume=True, build=thin)


def test_other_files_are_other_data_wherever_their_folder_lies(tmp_path):
    one, moved, renamed = (open_data(f"folder:{write_folder(tmp_path / name)}") for name in ("one", "moved", "renamed"))
    assert fingerprint(one) == fingerprint(moved)
    renamed.train.paths[0] = renamed.train.paths[0].with_name("another.png")
    assert fingerprint(one) != fingerprint(renamed)


def test_a_finished_run_whose_state_has_gone_is_not_begun_again(tmp_path):
    run(tmp_path)
    before = (tmp_path / "run.json").read_text()
    (tmp_path / "state.safetensors").unlink()
    with pytest.raises(ValueError, match=r"state.safetensors has gone, so its run can't be gone on from"):
        run(tmp_path, resume=True)
    assert (tmp_path / "run.json").read_text() == before


def test_what_can_be_refused_at_once_is_refused_before_all_images_are_read(tmp_path, monkeypatch, capsys):
    """Reading a million files to say that the folder is taken would cost an hour."""
    data = write_folder(tmp_path / "data", images=8, size=(28, 28))
    monkeypatch.setattr("hatnet.cli.train.without_broken_files", lambda *_, **__: pytest.fail("read images"))
    command = ["hatnet", "train", "fashion-quick", "--data", f"folder:{data}", "--batch-size", "8", "--slice-size", "8"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text("{}")
    for options, message in (
        (["--out", "taken"], "holds a run already"),
        (["--weights", "none.safetensors"], "no weights to start from"),
        (["--batch-size", "64", "--slice-size", "64"], "batch_size=64 is more than the 16 images there are"),
        (["--precision", "float16", "--device", "cpu"], "is for GPUs"),
        (["--workers", "-1"], "workers=-1 must not be negative"),
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [*command, *options])
        with pytest.raises(SystemExit):
            main()
        assert message in capsys.readouterr().err


def test_a_run_that_goes_on_says_when_it_did_and_clears_up_after_a_kill(tmp_path):
    run(tmp_path, watch=Watch(stop=True))
    begun = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / ".state.safetensors.part.x1").write_bytes(b"half")
    run(tmp_path, resume=True)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["date"] == begun["date"]
    assert [again["after step"] for again in facts["started again"]] == [1]
    assert not list(tmp_path.glob(".*"))
    run(tmp_path, resume=True)  # there is nothing left to do
    assert json.loads((tmp_path / "run.json").read_text()) == facts


def test_a_damaged_state_is_refused(whole, tmp_path):
    content = (whole / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"state.safetensors is damaged"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0 must be from"),
        ({"epochs": 0}, "epochs=0 must be from 1"),
        ({"warmup_epochs": 5.0}, "warmup_epochs=5 must be fewer than epochs=3"),
        ({"slice_size": 3, "batch_size": 6}, "slice_size=3 must be even where images are mixed"),
        ({"slice_size": 5}, "slice_size=5 must divide batch_size=16"),
        ({"image_size": 4}, "too small"),
        ({"variant": "micr"}, "did you mean 'micro'"),
        ({"label_smoothing": 1.5}, "label_smoothing=1.5 must be from 0 to 1"),
        ({"stem_strides": (0, 1)}, "stem_strides"),
    ],
)
def test_recipes_that_can_not_be_trained_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_recipes_survive_json_and_unknown_keys_name_the_nearest():
    for recipe in RECIPES.values():
        assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    with pytest.raises(ValueError, match="unknown key 'epoch' in a recipe, did you mean 'epochs'"):
        from_json({"epoch": 3})
    with pytest.raises(ValueError, match="did you mean 'fashion-quick'"):
        get_recipe("fashion-quik")


def test_a_recipe_can_change_what_of_its_network_holds_no_parameters():
    finer = replace(get_recipe("fashion"), stem_strides=(1, 1), grid_sizes=(7, 7), pool_sizes=(4, 2))
    layout = finer.config(10, 1).layout(28, 28)
    assert [(stage.map, stage.windows, stage.merged) for stage in layout] == [
        ((28, 28), (4, 4), (7, 7)),
        ((14, 14), (2, 2), (7, 7)),
        ((7, 7), None, None),
    ]


def test_every_recipe_says_what_to_expect():
    assert EXPECT.keys() == RECIPES.keys()
    assert all(len(words) > 20 for words in EXPECT.values())


def test_the_guide_has_a_row_for_every_recipe():
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for name, recipe in RECIPES.items():
        network = f"{recipe.variant}, {recipe.image_size} px"
        assert f"| `{name}` | {recipe.data} | {network} | {recipe.epochs} | {EXPECT[name]} |" in guide


def test_the_imagenet_recipe_is_the_papers():
    """Section 4.1 of the paper: AdamW, 128 images on each of 8 GPUs, 1e-3, weight decay 0.05, cosine, 300 epochs."""
    recipe = get_recipe("imagenet")
    assert (recipe.epochs, recipe.batch_size, recipe.slice_size, recipe.lr) == (300, 8 * 128, 128, 1e-3)
    assert (recipe.weight_decay, recipe.label_smoothing, recipe.image_size) == (0.05, 0.1, 224)
    assert recipe.mixup > 0
    assert recipe.cutmix > 0


def photos(folder: Path, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Split:
    """Training and test photos in folders, with the width and height of each part."""
    for part, size in zip(("train", "val"), sizes, strict=True):
        write_folder(folder, images=8, size=size, parts=(part,))
    return open_data(f"folder:{folder}")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (None, r"the images of fashion-subset have 28 x 28 pixels, image_size=32: give --crop-padding None"),
        (((40, 30), (40, 30)), r"train/cat/0.png has 30 x 40 pixels, image_size=32: give --crop-padding None"),
        (((32, 32), (64, 64)), r"val/cat/0.png has 64 x 64 pixels, image_size=32: give --crop-padding None"),
    ],
)
def test_images_of_another_size_are_refused_before_anything_is_written(sizes, message, tmp_path):
    data = small_data() if sizes is None else photos(tmp_path / "photos", sizes)
    with pytest.raises(ValueError, match=message):
        Training(replace(SMALL, image_size=32), data, tmp_path / "run", ALONE, build=thin)
    assert not (tmp_path / "run").exists()
    resized = replace(SMALL, image_size=32, crop_padding=None)
    images, _ = next(Training(resized, data, tmp_path / "run", ALONE, build=thin).batches)
    assert images.shape[2:] == (32, 32)


def test_files_of_the_size_of_the_recipe_are_taken_as_they_are(tmp_path):
    data = photos(tmp_path / "photos", ((28, 28), (28, 28)))
    assert isinstance(data.test, ImageFolder)
    data.test.paths[0].write_text("not an image")  # what can't be read has no size
    training = Training(SMALL, data, tmp_path / "run", ALONE, build=thin)
    assert next(iter(training.batches))[0].shape[2:] == (28, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "fashion-quick", "--image-size", "32"],
            "the images of fashion-subset have 28 x 28 pixels, image_size=32: give --crop-padding None",
        ),
        (["train", "fashion-quik"], "unknown recipe 'fashion-quik', did you mean 'fashion-quick'"),
        (["train", "--stem-strides", "1", "1", "fashon"], "unknown recipe 'fashon', did you mean 'fashion'"),
        (["train", "fashion", "--data-dir", "{tmp}"], "fashion-mnist is not in {tmp}"),
        (["train", "fashion-quick", "--data", "folder:{tmp}/none"], "no folder {tmp}/none/train"),
        (["train", "fashion-quick", "--weights", "{tmp}/none.safetensors"], "no weights to start from at {tmp}/none"),
        (["train", "fashion-quick", "--device", "tpu"], "device='tpu' must be cpu, cuda or one GPU such as"),
        (["evaluate", "{tmp}/none.safetensors"], "no checkpoint file at {tmp}/none.safetensors"),
        (["evaluate", "{tmp}/none.safetensors", "--batch-size", "-1"], "batch_size=-1 must be at least 1"),
        (["evaluate", "{tmp}/none.safetensors", "--batch-size", "0"], "batch_size=0 must be at least 1"),
        (["evaluate", "{tmp}"], "no checkpoint file at {tmp}/last.safetensors"),
    ],
)
def test_the_command_line_says_what_is_wrong_before_it_starts(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hatnet", *(part.format(tmp=tmp_path) for part in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_a_defect_keeps_its_traceback(error, monkeypatch):
    def fail(*_, **__):
        raise error("a defect")

    monkeypatch.setattr("hatnet.cli.train.examine", fail)
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(Path(__file__)), "--device", "cpu"])
    with pytest.raises(error, match="a defect"):
        main()


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it"),
            "CUDA out of memory. Tried to allocate 2 GiB.",
        ),
        (None, "can't allocate memory: you tried to allocate 4000000000000000"),
    ],
)
def test_too_little_memory_is_an_error_with_advice(raised, cause, monkeypatch, capsys):
    def fill(*_, **__):
        if raised is None:
            torch.empty(10**15)  # as PyTorch says it on a CPU
        raise raised

    monkeypatch.setattr("hatnet.cli.train.examine", fill)
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(Path(__file__)), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {cause}")
    assert "\nHalve --slice-size (train" in error
    assert "--batch-size (evaluate)" in error


def test_evaluation_from_the_command_line_draws_and_writes(whole, tmp_path, monkeypatch, capsys):
    data = write_folder(tmp_path / "data", images=4, size=(28, 28))
    torch.manual_seed(0)
    recipe = replace(SMALL, data=f"folder:{data}", epochs=1, warmup_epochs=0, batch_size=4, slice_size=4)
    monkeypatch.setattr(
        sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data-dir", str(tmp_path / "kept")]
    )
    Training(recipe, open_data(recipe.data), tmp_path / "run", ALONE).run()
    main()
    facts = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert facts["images"] == 8
    assert np.sum(facts["confusion (rows true, columns predicted)"]) == 8
    assert (tmp_path / "run" / "evaluation.svg").read_text().count("<svg") == 1
    assert "of 8 images are classified right" in capsys.readouterr().out


def test_evaluation_leaves_broken_images_out_and_does_not_look_at_those_for_training(tmp_path, monkeypatch, capsys):
    data = open_data(f"folder:{write_folder(tmp_path / 'photos', images=4, size=(28, 28))}")
    torch.manual_seed(0)
    recipe = replace(SMALL, data=data.name, epochs=1, warmup_epochs=0, batch_size=4, slice_size=4)
    Training(recipe, data, tmp_path / "run", ALONE).run()
    for path in (data.test.paths[5], data.train.paths[2]):
        path.write_text("not an image")
    monkeypatch.setattr(
        sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data-dir", str(tmp_path / "kept")]
    )
    main()
    printed = capsys.readouterr().out
    assert f"1 of 8 test images can't be read and are left out:\n  {data.test.paths[5]}" in printed
    assert "of 7 images are classified right" in printed
    assert str(data.train.paths[2]) not in printed
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"] == 7


def test_a_class_of_which_no_test_image_can_be_read_has_no_accuracy(tmp_path):
    confusion = torch.tensor([[3, 1], [0, 0]])
    Examination(Path("x.safetensors"), "photos", ("cat", "dog"), Evaluation(confusion, 0.5)).write(tmp_path)
    facts = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert facts["class accuracy"] == {"cat": 0.75, "dog": None}


def test_evaluation_of_images_of_another_size_is_refused(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    data = photos(tmp_path / "photos", ((28, 28), (28, 28)))
    Training(replace(SMALL, epochs=1, warmup_epochs=0), data, tmp_path / "run", ALONE).run()
    photos(tmp_path / "others", ((28, 28), (40, 28)))
    arguments = ["--data", f"folder:{tmp_path / 'others'}", "--data-dir", str(tmp_path / "kept")]
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), *arguments])
    with pytest.raises(SystemExit):
        main()
    assert "cat/0.png has 28 x 40 pixels, image_size=28: the test takes images as they are" in capsys.readouterr().err


def test_weights_that_do_not_say_how_images_are_prepared_are_not_evaluated_by_guess(tmp_path):
    data = write_folder(tmp_path / "data", images=2, size=(28, 28))
    save(create_model("micro", num_classes=2), tmp_path / "micro.safetensors", {"note": "made by hand"})
    with pytest.raises(DataError, match="micro.safetensors doesn't say how it was trained"):
        examine(tmp_path / "micro.safetensors", ALONE, data=f"folder:{data}", data_dir=tmp_path / "kept")
    save(create_model("tiny", num_classes=2), tmp_path / "tiny.safetensors", {"note": "made by hand"})
    found = examine(tmp_path / "tiny.safetensors", ALONE, data=f"folder:{data}", data_dir=tmp_path / "kept")
    assert found.evaluation.images == 4


def test_evaluation_on_other_classes_is_refused(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    Training(replace(SMALL, epochs=1, warmup_epochs=0), small_data(), tmp_path / "run", ALONE).run()
    data = write_folder(tmp_path / "data", images=2, size=(28, 28))
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data", f"folder:{data}"])
    with pytest.raises(SystemExit):
        main()
    assert "knows 10 classes" in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation.json").exists()


# --- The weights that come with the package --------------------------------------------------------------------------


def test_pretrained_weights_are_small_and_say_how_they_were_trained():
    from hatnet.weights.pretrained import pretrained_file

    path = pretrained_file("micro", "fashion-mnist")
    assert path.stat().st_size < 3e6
    assert about(path)["data"] == "fashion-mnist"


def test_the_guide_gives_the_accuracy_that_the_weights_and_their_records_give():
    from hatnet.weights.pretrained import pretrained_file

    docs = Path(__file__).parents[2] / "docs"
    accuracy = about(pretrained_file("micro", "fashion-mnist"))["test_accuracy"]
    assert (docs / "training.md").read_text(encoding="utf-8").count(f"**{100 * accuracy:.2f} %**") == 2
    kept = docs / "measurements" / "fashion-micro-full" / "fourth"
    assert json.loads((kept / "evaluation.json").read_text(encoding="utf-8"))["accuracy"] == accuracy >= 0.945
    run = json.loads((kept / "run.json").read_text(encoding="utf-8"))
    assert run["result"]["test accuracy of the last epoch"] == accuracy


def test_pretrained_weights_classify_the_embedded_test_images():
    """The 2,500 are part of the 10,000 that the published figure is of."""
    from hatnet.weights.pretrained import pretrained_file

    model = create_model("micro", pretrained="fashion-mnist")
    assert isinstance(model, HATNet)
    assert not model.training
    data = open_data("fashion-subset")
    recipe = from_json(about(pretrained_file("micro", "fashion-mnist"))["recipe"])
    batches = batches_for_testing(data.test, for_testing(recipe, data), 0, 1, 250, 0)
    assert (
        evaluate(model, batches, ALONE).accuracy
        > about(pretrained_file("micro", "fashion-mnist"))["test_accuracy"] - 0.02
    )


def test_pretrained_weights_take_other_windows_but_no_other_channels():
    changed = create_model("micro", pretrained="fashion-mnist", grid_sizes=(5, 3))
    assert changed.config.grid_sizes == (5, 3)
    with pytest.raises(CheckpointError, match="the weights of micro trained on fashion-mnist"):
        create_model("micro", pretrained="fashion-mnist", num_classes=7)
    with pytest.raises(
        ValueError, match=r"no weights of 'tiny' trained on 'fashion-mnist'; there are: micro on fashion-mnist"
    ):
        create_model("tiny", pretrained="fashion-mnist")


def test_training_recipe_types_are_frozen():
    with pytest.raises(AttributeError):
        SMALL.lr = 1.0  # type: ignore[misc]
    assert isinstance(SMALL, Recipe)
