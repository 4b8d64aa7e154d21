"""The record of a benchmark: one JSON file with the machine, the settings and every individual timing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.settings import Layout, Settings
from hatnet.studies.common.records import RecordFormat
from hatnet.studies.common.statistics import Quartiles, quartiles


@dataclass
class Visit:
    """What the processes of one visit measured; each list has one entry per process."""

    network: str
    processes: int
    threads: int
    round: int  # 0: the pilot, which chooses the layout; after the last round: the roofline
    seconds: float = 0.0  # of the whole visit, with the start of the processes
    refused: str = ""  # why nothing was measured
    batches: list[list[float]] = field(default_factory=list)  # seconds of each batch
    latencies: list[list[float]] = field(default_factory=list)  # seconds of each single image
    before: list[int] = field(default_factory=list)  # bytes in use before the network was built
    added: list[int] = field(default_factory=list)  # bytes that were added at the peak
    parts: list[dict[str, float]] = field(default_factory=list)  # seconds of each part of a batch
    peaks: list[dict[str, float]] = field(default_factory=list)  # peak rates of the machine

    @property
    def layout(self) -> Layout:
        """Processes and threads."""
        return Layout(self.processes, self.threads)

    def rates(self, batch: int) -> list[float]:
        """Images per second of all processes together, by each timed batch."""
        return [self.processes * batch / seconds for process in self.batches for seconds in process]


@dataclass
class Record:
    """Results of one run of `hatnet bench`."""

    date: str
    machine: dict[str, str | int]
    settings: Settings
    visits: list[Visit]
    complete: bool = False  # False if the run was stopped before its end

    def refusal(self, network: str) -> str:
        """Why a network was left out; empty if it was measured."""
        return next((visit.refused for visit in self.of(network) if visit.refused), "")

    def of(self, network: str, rounds: Iterable[int] | None = None) -> list[Visit]:
        """The visits of a network, of all rounds or of some."""
        return [
            visit for visit in self.visits if visit.network == network and (rounds is None or visit.round in rounds)
        ]

    def layout(self, network: str) -> Layout | None:
        """The layout with the highest median throughput in the pilot; None before it was visited."""
        if len(self.settings.candidates()) == 1:
            return self.settings.candidates()[0]
        found = [visit for visit in self.of(network, [0]) if visit.batches]
        batch = self.settings.batch
        return max(found, key=lambda visit: quartiles(visit.rates(batch)).median).layout if found else None

    def latency_layout(self, network: str) -> Layout | None:
        """The layout of one process with the shortest median latency in the pilot; None if there is none."""
        alone = [layout for layout in self.settings.candidates() if layout.processes == 1]
        if self.settings.training or len(self.settings.candidates()) == len(alone) == 1:
            return None if self.settings.training else alone[0]
        found = [visit for visit in self.of(network, [0]) if visit.latencies]
        return min(found, key=lambda visit: quartiles(visit.latencies[0]).median).layout if found else None

    def throughput(self, network: str) -> Quartiles | None:
        """Images per second in the best layout, over the batches of all rounds; None if there are none."""
        rates = [rate for visit in self._rounds(network) for rate in visit.rates(self.settings.batch)]
        return quartiles(rates) if rates else None

    def latency(self, network: str) -> Quartiles | None:
        """Seconds of a single image in the best layout of one process, over all rounds; None if there are none."""
        times = [seconds for visit in self._rounds(network) for process in visit.latencies for seconds in process]
        return quartiles(times) if times else None

    def memory(self, network: str) -> int | None:
        """Bytes that the network's work adds to a process at the peak: the median of all rounds and processes."""
        added = [count for visit in self._rounds(network) for count in visit.added]
        return round(quartiles(added).median) if added else None

    def measured(self) -> list[str]:
        """The networks with a throughput, fastest first."""
        found = [(values.median, name) for name in self.settings.networks if (values := self.throughput(name))]
        return [name for _, name in sorted(found, reverse=True)]

    def roofline(self, network: str) -> Visit | None:
        """The visit that measured the parts of a network and the peak rates; None if there is none."""
        return next((visit for visit in self.of(network) if visit.parts and visit.peaks), None)

    def _rounds(self, network: str) -> list[Visit]:
        return self.of(network, range(1, self.settings.rounds + 1))


def has_roofline(settings: Settings, network: str) -> bool:
    """Return whether the parts of this network are timed: of our variants, in eager inference."""
    family = NETWORKS[network].family
    return settings.roofline and not settings.training and not settings.compile and family == "hatnet"


FORMAT = RecordFormat("hatnet bench", 1, Record, Settings, lists={"visits": Visit})
read, write = FORMAT.read, FORMAT.write
