"""Progress moves with every slice of a batch, in a terminal and in a log file, and nothing is told twice."""

import io
import os
import signal
import time

import pytest
from rich.console import Console

from hatnet.cli.console import progress
from hatnet.data.transforms import for_testing
from hatnet.training import Monitor
from hatnet.training.batches import PRINTED, batches_for_testing
from hatnet.training.classification import Classification
from hatnet.training.progress import stoppable
from tests.training.image_files import folder_data
from tests.training.runs import ONE_EPOCH, SMALL, run, start


@pytest.fixture
def slices(monkeypatch):
    """Receives the word slice after each computed slice."""
    events, loss = [], Classification.loss

    def watched(*arguments):
        events.append("slice")
        return loss(*arguments)

    monkeypatch.setattr(Classification, "loss", watched)
    return events


def test_every_slice_and_every_test_batch_is_reported(slices, tmp_path):
    training = start(tmp_path, ONE_EPOCH)
    monitor = Monitor(lambda _: slices.append("report"))
    monitor.part = lambda *part: slices.append(part)
    training.run(monitor)
    batches = [("testing", done, 2) for done in range(2)]  # 30 test images, 16 at once
    first = [("training", 0.0, 5), "slice", ("training", 0.5, 5), "slice", "report", ("training", 1.0, 5), "slice"]
    assert slices[: len(first)] == first
    assert slices[-3:] == [*batches, "report"]
    assert slices.count("slice") == 10


@pytest.mark.parametrize(("seconds", "reports"), [(0.0, [1, 2, 3, 4, 5]), (1e9, [1, 5])])
def test_slow_steps_are_reported_earlier_than_every_tenth(seconds, reports, monkeypatch, tmp_path):
    monkeypatch.setattr("hatnet.training.loop.CHECK_AFTER", seconds)
    found = []
    run(tmp_path, ONE_EPOCH, monitor=Monitor(lambda now: found.append(now.step)))
    assert found == reports


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_ends_the_process(number):
    monitor, before = Monitor(), signal.getsignal(number)
    with stoppable(monitor):
        assert not monitor.stop
        os.kill(os.getpid(), number)
        assert (monitor.stop, monitor.stopped_by) == (True, number)
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before


@pytest.fixture
def log(monkeypatch):
    """A log file in place of the terminal, with a line after 0.05 seconds and then every 0.1."""
    file = io.StringIO()
    for module in ("train", "console"):  # in this order, since `train` takes the console when it is imported
        monkeypatch.setattr(f"hatnet.cli.{module}.console", Console(file=file, width=80))
    monkeypatch.setattr("hatnet.cli.console.FIRST_LINE", 0.05)
    monkeypatch.setattr("hatnet.cli.console.LATER_LINES", 0.1)
    return file


def wait_until(holds):
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_log_file_gets_lines_while_nothing_moves(log):
    began = time.monotonic()
    with progress("reading", 5) as step:
        wait_until(lambda: log.getvalue().count("reading 0 of 5, after ") >= 2)
        step("1.jpg")
        wait_until(lambda: "reading 1 of 5, after " in log.getvalue())
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("reading 0 of 5, after ")
    assert len(lines) <= 3 + (time.monotonic() - began) / 0.1


def test_a_check_without_work_draws_no_bar(log, monkeypatch):
    monkeypatch.setattr("hatnet.cli.console.FIRST_LINE", 600)
    with progress("reading", 5):
        pass
    assert log.getvalue().strip() == ""


def test_training_says_that_the_first_step_is_computed(log, hatnet, monkeypatch, tmp_path):
    loss = Classification.loss

    def patient(*given):  # two lines, as the first may have been begun before this slice
        before = len(log.getvalue().splitlines())
        wait_until(lambda: len(log.getvalue().splitlines()) >= before + 2)
        return loss(*given)

    monkeypatch.setattr(Classification, "loss", patient)
    data = folder_data(tmp_path / "data", images=4)
    hatnet(
        "train", "fashion-quick", "--data", data.name, "--data-dir", tmp_path, "--out", tmp_path / "run", "--epochs", 1,
        "--warmup-epochs", 0, "--batch-size", 8, "--slice-size", 4, "--workers", 0, "--device", "cpu",
    )  # fmt: skip
    lines = [line for line in log.getvalue().splitlines() if line.startswith("step")]
    assert lines[0].startswith("step 0 of 1, computing the first step")
    assert any("slice 2 of 2" in line for line in lines)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # as on the command line: a machine may have one core
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_has_gone_bad_is_told_once_in_a_run(workers, tmp_path, capfd):
    data = folder_data(tmp_path / "data", images=20)
    for path in data.test.paths[:-1]:
        path.write_text("not an image")
    batches = batches_for_testing(data.test, for_testing(SMALL, data), 0, 1, 4, workers)
    for _ in range(3):
        assert sum(len(labels) for _, labels in batches) == 1
    lines = capfd.readouterr().out.splitlines()
    named = [line for line in lines if line.startswith("left out of the test: ")]
    assert len(set(named)) == len(named) == PRINTED
    assert [line for line in lines if line not in named] == ["more files cannot be read, which are not named here"]
