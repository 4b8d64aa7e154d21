"""Watch a small training: keep its logits, labels, rates and weights, and set its clock."""

from types import SimpleNamespace

import numpy as np

from hatnet import to_numpy
from hatnet.training import Monitor
from tests.training.runs import start

TEST_BATCH, REPORT = 100.0, 7.0  # seconds on the clock of a run, which no column may count


def slice_seconds(slice_):
    """Time that a slice of the training takes on the clock of a run, the later the longer: a step takes over 2 s."""
    return 1 + slice_ / 8


class Observer:
    """A training, and everything that its figures follow from."""

    def __init__(self, folder, monkeypatch, recipe, *, stop_at=None, **options):
        self.now, self.stop_at, self.reports = 1000.0, stop_at, []
        monkeypatch.setattr("hatnet.training.loop.time", SimpleNamespace(monotonic=lambda: self.now))
        self.training = start(folder, recipe, **options)
        learner = self.training.learner
        self.params = [self._params()]  # before the first step, and after each
        self.logits, self.labels, self.rates = [], [], []  # of each slice; of each step
        learner.model.register_forward_hook(self._keep_logits)
        learner.optimiser.register_step_post_hook(self._keep_step)
        mix = learner.mix

        def keep_labels(images, labels):
            images, labels = mix(images, labels)
            self.labels.append(labels.double().numpy())
            return images, labels

        learner.mix = keep_labels
        self.monitor = Monitor(report=self._report, part=self._tick)
        self.training.run(self.monitor)

    def _params(self):
        return {name: array.astype(np.float64) for name, array in to_numpy(self.training.model).items()}

    def _keep_logits(self, model, _, logits):
        if model.training:
            self.logits.append(logits.detach().double().numpy())

    def _keep_step(self, optimiser, *_):
        self.params.append(self._params())
        self.rates.append({group["lr"] for group in optimiser.param_groups})

    def _tick(self, kind, done, _):
        slices = self.training.sampler.slices
        self.now += slice_seconds(round(done * slices)) if kind == "training" else TEST_BATCH

    def _report(self, progress):
        self.now += REPORT
        self.reports.append(progress)
        self.monitor.stop = progress.step == self.stop_at
