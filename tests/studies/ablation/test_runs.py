"""The runs of an ablation: their order, stopping and resuming, the common recipe, and the times."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hatnet.data import ImageTensor, Split, open_data
from hatnet.studies.ablation import ARMS, Record, Settings, build, read, write
from hatnet.studies.ablation.record import Network, mismatches
from hatnet.studies.ablation.runs import Ablation, machine, trainer
from hatnet.studies.ablation.statistics import complete_seeds
from hatnet.studies.ablation.timing import measure_times
from hatnet.training import Monitor, Processes, Training
from hatnet.training.resuming import load_state
from tests.studies.ablation.conftest import CPU, SETTINGS, make_times


class Trainer:
    """Trains nothing: notes the arms and seeds, and stops before run number `stop_at`."""

    def __init__(self, stop_at=math.inf):
        self.runs, self.stop_at = [], stop_at

    def __call__(self, arm, seed, folder, monitor):
        if len(self.runs) == self.stop_at:
            return None
        self.runs.append((arm, seed))
        folder.mkdir(parents=True)
        (folder / "last.safetensors").write_bytes(b"")
        (folder / "run.json").write_text("{}")
        return [{"test_accuracy": 0.8 + seed / 100, "train_loss": 0.1234567, "seconds": 2.0}]


@pytest.fixture
def without_timing(monkeypatch):
    monkeypatch.setattr("hatnet.studies.ablation.runs.measure_times", lambda *_: make_times(ARMS))


@pytest.fixture(scope="module")
def small_data():
    """256 training and 40 test images of Fashion-MNIST."""
    data = open_data("fashion-subset")
    train, test = (part.part(torch.arange(count)) for part, count in ((data.train, 256), (data.test, 40)))
    return Split(data.name, ImageTensor(train.pixels, train.labels), test, data.classes, data.mean, data.std)


@pytest.mark.usefixtures("without_timing")
@settings(max_examples=5)
@given(stop_at=st.integers(0, 6))
def test_stopped_ablation_continues_with_the_missing_runs(tmp_path_factory, stop_at):
    """All arms of one seed come first, then those of the next. Finished runs are not repeated."""
    folder, names = tmp_path_factory.mktemp("out"), ["none", "local", "h-mhsa"]
    first, second = Trainer(stop_at), Trainer()
    done = Ablation(SETTINGS, names, 2, folder, CPU).run(first, Monitor())
    assert done == (stop_at == 6)
    assert len(read(folder / "ablation.json").runs) == stop_at
    assert Ablation(SETTINGS, names, 2, folder, CPU).run(second, Monitor())
    assert first.runs + second.runs == [(arm, seed) for seed in (0, 1) for arm in names]
    assert not list(folder.rglob("*.safetensors"))
    found = read(folder / "ablation.json").networks
    assert found == [Network.of(SETTINGS.matched(arm)) for arm in names], "each of the networks once"


def test_neither_a_run_nor_the_timing_starts_after_ctrl_c(tmp_path):
    train = Trainer()
    assert not Ablation(SETTINGS, ["none"], 1, tmp_path, CPU).run(train, Monitor(stop=True))
    assert train.runs == []
    assert measure_times(SETTINGS, ["none"], CPU, Monitor(stop=True)) is None


@pytest.mark.usefixtures("without_timing")
def test_arms_and_seeds_can_be_added_later(tmp_path):
    for names, seeds, new_runs in ((["local"], 1, 1), (["local", "h-mhsa"], 2, 3), (["local"], 2, 0)):
        work, train = Ablation(SETTINGS, names, seeds, tmp_path, CPU), Trainer()
        work.run(train, Monitor())
        assert len(train.runs) == new_runs
    assert complete_seeds(work.record) == [0, 1]
    assert [(run.accuracy, run.train_loss, run.seconds) for run in work.record.runs] == [
        ([0.8 + run.seed / 100], [0.12346], 2.0) for run in work.record.runs
    ]


def test_stopped_run_resumes_to_the_same_bits(small_data, tmp_path):
    """By the project's own training, with the network of an arm; stopped after the first step."""
    train = trainer(SETTINGS, small_data, CPU, 0)
    whole = train("local", 3, tmp_path / "whole", Monitor())
    assert train("local", 3, tmp_path / "stopped", Monitor(stop=True)) is None
    assert load_state(tmp_path / "stopped" / "state.safetensors")[0].step == 1
    resumed = train("local", 3, tmp_path / "stopped", Monitor())
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert [row[name] for row in whole] == [row[name] for row in resumed]


def test_arms_train_on_the_same_images_in_the_same_order(small_data, tmp_path):
    batches = []
    for arm in ("local", "pvt"):
        training = Training(
            SETTINGS.recipe(5), small_data, tmp_path / arm, Processes(0, 1, CPU),
            build=lambda _, arm=arm: build(SETTINGS.matched(arm)),
        )  # fmt: skip
        batches.append(list(islice(training.batches, 2)))
    for (images, labels), (other_images, other_labels) in zip(*batches, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_every_arm_is_timed_in_every_round():
    found = measure_times(SETTINGS, ["none", "h-mhsa"], CPU, Monitor(), rounds=2)
    assert [times.what for times in found] == ["forward", "step"]
    for times in found:
        assert {arm: len(seconds) for arm, seconds in times.seconds.items()} == {"none": 2, "h-mhsa": 2}
        assert all(second > 0 for seconds in times.seconds.values() for second in seconds)


def test_folder_of_another_ablation_is_an_error_that_names_the_difference(tmp_path):
    record = Record("2026-01-01", machine(CPU), SETTINGS, [])
    for changes, words in (
        ({"settings": Settings("fashion-subset", 7)}, "epochs: 1 here, 7 there"),
        ({"machine": record.machine | {"threads": 99}}, r"threads: \d+ here, 99 there"),
    ):
        write(replace(record, **changes), tmp_path / "ablation.json")
        with pytest.raises(ValueError, match=rf"another ablation; give another --out:\n{words}"):
            Ablation(SETTINGS, ["local"], 1, tmp_path, CPU)


def test_record_with_other_networks_is_not_continued():
    network = Network.of(SETTINGS.matched("local"))
    record = Record("2026-01-01", {}, SETTINGS, [replace(network, widths=[1, 2, 3])])
    assert "the network local" in mismatches(record, SETTINGS, {})[0]
    assert not mismatches(replace(record, networks=[network]), SETTINGS, {})
