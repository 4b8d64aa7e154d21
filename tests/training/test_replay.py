"""The project's training steps, replayed by the reference: the same batches lead to the same weights, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hatnet import to_numpy
from reference.learning import Learner, Settings
from tests.training.runs import SMALL, start

RECIPE = replace(SMALL, batch_size=8, slice_size=4, drop_path=0.0, classifier_drop=0.0, clip=1.15)
SETTINGS = Settings(  # the other settings have the same defaults
    steps=30, warmup=5, peak_rate=RECIPE.lr, clip=RECIPE.clip, average_decay=RECIPE.ema,
    smoothing=RECIPE.label_smoothing,
)  # fmt: skip


def assert_near(got, want, what):
    """Assert that tensors agree to 1e-9, relative to their norm or, if it is small, to a norm of 0.1.

    The gradient of the keys' biases is zero, and AdamW divides its rounding errors, about 1e-17, by eps = 1e-8.
    """
    error = np.linalg.norm(np.subtract(got, want)) / max(np.linalg.norm(want), 0.1)
    assert error <= 1e-9, f"{what}: relative difference {error:.1e}"


class Recorder:
    """A learner in float64 that keeps what its steps use: mixed batches, and the norms of gradients."""

    def __init__(self, training, monkeypatch):
        self.learner = training.learner
        for network in self.learner.networks.values():
            network.double()
        self.batches = ((images.double(), labels) for images, labels in training.batches)
        self.slices, self.norms = [], []
        mix, clip = self.learner.mix, torch.nn.utils.clip_grad_norm_

        def recording_mix(images, labels):
            images, labels = mix(images, labels)
            self.slices.append((images.numpy(), labels.numpy().astype(float)))
            return images, labels.double()

        def recording_clip(*arguments, **options):
            norm = clip(*arguments, **options)
            self.norms.append(norm.item())
            return norm

        self.learner.mix = recording_mix
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", recording_clip)

    def take_step(self):
        """The loss of a step, its batch, its learning rates and its norm."""
        self.slices.clear()
        loss = self.learner.take_step(self.batches).item()
        images, labels = (np.concatenate(parts) for parts in zip(*self.slices, strict=True))
        rates = {group["lr"] for group in self.learner.optimiser.param_groups}
        return loss, images, labels, rates, self.norms[-1]


@pytest.mark.parametrize("steps", [5, pytest.param(20, marks=pytest.mark.long)])  # an epoch has 10
def test_training_steps_follow_the_numpy_trajectory(tmp_path, monkeypatch, steps):
    """Slices, clipping, smoothing, mixed labels, groups of decay, the average and the schedule."""
    recorder = Recorder(start(tmp_path, RECIPE), monkeypatch)
    model, average = recorder.learner.model, recorder.learner.average.model
    replay = Learner(to_numpy(model), model.config, SETTINGS)
    norms, mixed = [], 0
    for _ in range(steps):
        loss, images, labels, rates, norm = recorder.take_step()
        step = replay.take_step(images, labels)
        assert list(rates) == [pytest.approx(step.rate, rel=1e-12)]
        assert len(images) == RECIPE.batch_size
        assert_near(loss, step.loss, f"loss of step {replay.step}")
        assert_near(norm, step.gradient_norm, f"gradient norm of step {replay.step}")
        for network, weights in ((model, replay.params), (average, replay.averaged)):
            for name, weight in network.state_dict().items():
                assert_near(weight.numpy(), weights[name], f"{name} after step {replay.step}")
        norms.append(norm)
        mixed += np.count_nonzero((labels > 0).sum(axis=1) > 1)
    assert min(norms) < RECIPE.clip < max(norms)  # some steps are clipped and some are not
    assert mixed > steps  # images
