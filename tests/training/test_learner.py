"""A step: schedule, average, accumulated gradients, precision, compilation; and that a network learns."""

import copy
import math
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hatnet.models import create_model
from hatnet.network import MLP
from hatnet.training import join
from hatnet.training.classification import evaluate
from hatnet.training.learner import WeightAverage, learning_rate
from hatnet.training.preparation import precision_of
from tests.gpu import GPU, NUMBERED
from tests.training.runs import ONE_EPOCH, SMALL, outcome, run, small_data, start


@given(st.integers(2, 200), st.data())
def test_the_rate_rises_linearly_and_falls_along_half_a_cosine(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [learning_rate(step, steps, warmup, 1.0, 0.1, 0.01) for step in range(steps + 1)]
    assert np.allclose(rates[:warmup], [0.1 + 0.9 * step / warmup for step in range(warmup)])
    assert rates[warmup] == 1.0
    assert math.isclose(rates[-1], 0.01)
    half = warmup + (steps - warmup) / 2
    assert all(rate >= (1 + rates[-1]) / 2 - 1e-12 for step, rate in enumerate(rates) if warmup <= step <= half)
    assert all(earlier >= later for earlier, later in pairwise(rates[warmup:]))


@pytest.mark.parametrize("step", [-1, 9, 1.5, True])
def test_there_is_no_rate_before_the_first_or_after_the_last_step(step):
    with pytest.raises(ValueError, match="step=.* must be a whole number from 0 to 8"):
        learning_rate(step, 8, 2, 1.0)


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


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    """The mean over slices of the mean over their images is the mean over the batch. AdamW would magnify rounding."""
    plain = replace(ONE_EPOCH, mixup=0.0, cutmix=0.0, drop_path=0.0, classifier_drop=0.0, ema=0.0)
    weights = []
    for slice_size in (16, 8, 2):
        training = start(tmp_path / str(slice_size), replace(plain, slice_size=slice_size))
        training.learner.optimiser = torch.optim.SGD(training.model.parameters(), lr=0.0)
        training.learner.take_step(training.batches)
        training.learner.learning_rate = lambda step: 1.0
        training.learner.take_step(training.batches)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()]))
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_are_not_scaled_unless_in_float16(precision, tmp_path):
    """float16 itself needs a GPU."""
    learner = start(tmp_path, replace(ONE_EPOCH, precision=precision)).learner
    assert not learner.scaler.is_enabled()
    assert learner.autocast._enabled == (precision != "float32")


def test_scaled_losses_change_no_bit_and_infinite_gradients_no_weights(tmp_path):
    """As for float16 on a GPU. Scaling by a power of two is exact, if gradients are divided before they are clipped."""
    trainings = [start(tmp_path / name, ONE_EPOCH) for name in ("plain", "scaled")]
    learner = trainings[1].learner
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    for _ in range(2):
        losses = [float(training.learner.take_step(training.batches)) for training in trainings]
        assert losses[0] == losses[1]
    assert learner.scaler.get_scale() == 2.0**11, "it grows after two good steps"
    before, plain = (copy.deepcopy(training.model.state_dict()) for training in trainings[::-1])
    assert all(torch.equal(before[name], plain[name]) for name in plain)
    learner.model.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    learner.take_step(trainings[1].batches)
    assert all(torch.equal(before[name], weight) for name, weight in learner.model.state_dict().items())
    assert learner.scaler.get_scale() == 2.0**10


@pytest.mark.long
def test_a_thin_network_learns_a_few_images(tmp_path):
    recipe = replace(
        SMALL, epochs=30, warmup_epochs=1, batch_size=8, rand_augment=0, erasing=0.0, mixup=0.0, cutmix=0.0,
        label_smoothing=0.0, crop_padding=0, flip=False, drop_path=0.0, classifier_drop=0.0, lr=1e-2,
    )  # fmt: skip
    data = small_data(train=4)
    assert run(tmp_path, recipe, data=replace(data, test=data.train)).history[-1]["test_accuracy"] > 0.9


def test_compiled_training_gives_the_same_result(whole, tmp_path, monkeypatch):
    """A test of the tracing. Another test compares the default backend with the reference."""
    torch.compiler.reset()  # graphs of other tests would slow this one down
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    training = run(tmp_path, replace(SMALL, compile=True))
    assert training.learner.network is not training.model
    assert outcome(tmp_path) == outcome(whole)


def test_recomputed_maps_give_the_same_bits(whole, tmp_path):
    training = run(tmp_path, replace(SMALL, recompute=True))
    assert all(module.recompute for module in training.model.modules() if isinstance(module, MLP))
    assert outcome(tmp_path) == outcome(whole)


def test_bfloat16_trains_on_a_cpu_and_float16_is_refused(tmp_path):
    assert math.isfinite(run(tmp_path, replace(ONE_EPOCH, precision="bfloat16")).history[0]["test_loss"])
    with pytest.raises(ValueError, match="float16' is for GPUs"):
        start(tmp_path / "half", replace(SMALL, precision="float16"))


@pytest.mark.parametrize("own", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_gets_float16(own, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: own or including_emulation)
    chosen = precision_of(SMALL, torch.device("cuda"))
    assert chosen is (torch.bfloat16 if own else torch.float16)
    assert precision_of(SMALL, torch.device("cpu")) is torch.float32


def test_steps_and_tests_make_their_tensors_on_the_device_of_the_process(tmp_path):
    """Here every tensor that names no device lands on `meta`, where it has no values; on a GPU it would stay behind."""
    training = start(tmp_path, replace(SMALL, mixup=0.0, cutmix=0.0))
    slices, tests = [next(training.batches) for _ in range(2)], [*training.tests]
    with torch.device("meta"):
        loss = float(training.learner.take_step(iter(slices)))
        found = evaluate(training.learner.tested.eval(), tests, training.processes)
    assert loss > 0
    assert found.images == 30


@pytest.mark.cuda
@pytest.mark.parametrize("device", sorted({GPU, NUMBERED}))
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_trains_on_a_gpu(precision, device, tmp_path):
    with join(device) as processes:
        history = run(tmp_path, replace(SMALL, precision=precision), processes=processes).history
    assert math.isfinite(history[-1]["test_loss"])


def test_steps_drop_at_the_rates_of_the_recipe_and_tests_drop_nothing(tmp_path):
    """In the blocks, of the branches of every image, and before the classifier, of every feature."""
    training, seen = start(tmp_path, replace(SMALL, drop_path=0.6, classifier_drop=0.25)), defaultdict(list)
    learner = training.learner

    def keep(name, axes):
        return lambda module, _, output: seen[name].append((output == 0).flatten(axes).all(dim=axes))

    for name, stage in training.model.stages.named_children():
        stage.blocks[0].drop_path.register_forward_hook(keep(name, 1))
    training.model.drop.register_forward_hook(lambda *arguments: seen["classifier"].append(arguments[2] == 0))
    learner.model.eval()  # as a test leaves it if there is no average
    for _ in range(5):
        learner.take_step(training.batches)
    for name, rate in (("0", 0.0), ("1", 0.3), ("2", 0.6), ("classifier", 0.25)):
        hits = torch.cat(seen[name])
        low, high = stats.binom.ppf([1e-4, 1 - 1e-4], hits.numel(), rate)
        assert low <= int(hits.sum()) <= high, f"{int(hits.sum())} of {hits.numel()} dropped in {name} at {rate}"
    assert not any(module.training for module in learner.tested.modules())
