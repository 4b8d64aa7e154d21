"""The runs of the ablation: every arm is trained with every seed, then all arms are timed."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from hatnet.checks import require_whole
from hatnet.data import Split
from hatnet.studies.ablation.arms import ARMS
from hatnet.studies.ablation.matching import build
from hatnet.studies.ablation.record import Network, Record, Run, Settings, mismatches, read, write
from hatnet.studies.ablation.timing import measure_times
from hatnet.studies.common.machine import machine_details
from hatnet.studies.common.records import timestamp
from hatnet.studies.common.settings import require_known
from hatnet.training import Monitor, Processes, Training

Train = Callable[[str, int, Path, Monitor], list[dict[str, float]] | None]  # one row per epoch, or None if stopped
OnRun = Callable[[str, int], None]  # called with the arm and the seed before each run


class Ablation:
    """Arms and seeds to run, and the record of the finished runs. It continues a record that `folder` contains.

    Raises ValueError, before anything is written, for unknown arms, for fewer than one seed, and if the record in
    `folder` has other settings, networks or a different machine.
    """

    def __init__(self, settings: Settings, arms: Sequence[str], seeds: int, folder: Path, device: torch.device) -> None:
        require_known("arm", arms, ARMS)
        require_whole("seeds", seeds, 1, 1000)
        self.settings, self.arms, self.seeds, self.folder, self.device = settings, arms, seeds, folder, device
        self.path = folder / "ablation.json"
        for arm in arms:
            settings.matched(arm)  # raises for an arm that this data cannot have
        self.record = Record(timestamp(), machine(device), settings, [])
        if self.path.exists():
            here, self.record = self.record.machine, read(self.path)
            reasons = mismatches(self.record, settings, here)
            if reasons:
                raise ValueError(f"{self.path} is of another ablation; give another --out:\n" + "\n".join(reasons))

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Arms and seeds that are not finished: all arms of one seed, then all arms of the next seed."""
        finished = {(run.arm, run.seed) for run in self.record.runs}
        return [run for seed in range(self.seeds) for arm in self.arms if (run := (arm, seed)) not in finished]

    def run(self, train: Train, monitor: Monitor, on_run: OnRun = lambda *_: None) -> bool:
        """Train what is missing, then time all arms if one was not timed yet. Returns True if everything is done.

        The record is written after each run. `monitor.stop` ends this soon; the next call resumes a stopped run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = {network.arm for network in self.record.networks}
        self.record.networks += [Network.of(self.settings.matched(arm)) for arm in self.arms if arm not in known]
        write(self.record, self.path)
        for arm, seed in self.missing:
            if monitor.stop:
                return False
            on_run(arm, seed)
            folder = self.folder / "runs" / f"{arm}-{seed}"
            rows = train(arm, seed, folder, monitor)
            if rows is None:
                return False
            self._finish(arm, seed, rows, folder)
        return not monitor.stop and self._time(monitor, on_run)

    def _finish(self, arm: str, seed: int, rows: list[dict[str, float]], folder: Path) -> None:
        """Add a run to the record. Its weights are deleted, because no variant describes their network."""
        accuracy = [round(row["test_accuracy"], 6) for row in rows]
        loss = [round(row["train_loss"], 5) for row in rows]
        seconds = round(sum(row["seconds"] for row in rows), 1)
        self.record.runs.append(Run(arm, seed, accuracy, loss, seconds, timestamp()))
        write(self.record, self.path)
        for file in folder.glob("*.safetensors"):
            file.unlink()

    def _time(self, monitor: Monitor, on_run: OnRun) -> bool:
        """Time all arms together, unless each of them is timed already. Returns False if `monitor` stopped it."""
        if self.record.times and all(set(self.arms) <= set(times.seconds) for times in self.record.times):
            return True
        on_run("times", 0)
        arms = [network.arm for network in self.record.networks]
        times = measure_times(self.settings, arms, self.device, monitor)
        if times is None:
            return False
        self.record.times = times
        write(self.record, self.path)
        return True


def trainer(settings: Settings, data: Split, device: torch.device, workers: int) -> Train:
    """The `train` argument of `Ablation.run`: the project's own training."""

    def train(arm: str, seed: int, folder: Path, monitor: Monitor) -> list[dict[str, float]] | None:
        training = Training(
            settings.recipe(seed), data, folder, Processes(0, 1, device), task=settings.task, resume=True,
            workers=workers, save_every=20,
            build=lambda _: build(settings.matched(arm)),  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        rows = training.run(monitor)
        return None if training.step < training.steps else rows

    return train


def machine(device: torch.device) -> dict[str, str | int]:
    """Machine details recorded with the runs."""
    details = machine_details(device) | {"torchvision": version("torchvision"), "device": device.type}
    return details | {"threads": torch.get_num_threads()}
