r"""The roofline of a HAT-Net: a lower bound on the time of each part, by the peak rates of the machine.

The bound of a part is the time of its arithmetic at the peak rates, or the time to move its data at the peak rate of
memory, whichever is longer:

$$t \ge \max\left(\sum \frac{\text{work}}{\text{peak rate}},\ \frac{\text{bytes}}{\text{peak rate of memory}}\right)$$

Only work that no implementation of the layer can avoid is counted: products, depthwise convolutions, SiLU and norms;
and of data the weights and the maps that enter and leave an attention or an MLP. Softmax, residual connections, biases,
pooling, copies and the wide maps inside an MLP count nothing, so the bound is lower than what can be reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hatnet.complexity import network_costs
from hatnet.config import HATNetConfig, Stage, ceil_div, get_config
from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.record import Record

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "autocast": 2}

Work = dict[str, float]  # by peak rate: MACs of matrices and depthwise, elements of silu and norm, bytes of memory


@dataclass(frozen=True)
class Bounded:
    """A part, its share of the measured time, and its bound, both in seconds per batch of one process."""

    part: str
    seconds: float
    bound: float

    @property
    def reached(self) -> float:
        """The fraction of the part's roofline that is reached: 1 at the bound."""
        return self.bound / self.seconds if self.seconds else 0.0


def work(config: HATNetConfig, size: int, batch: int, item: int) -> dict[str, Work]:
    """The unavoidable work of each part for a batch of images of `size` pixels, with `item` bytes per number."""
    found: dict[str, Work] = {}
    image = batch * size * size

    def add(part: str, **amounts: float) -> None:
        total = found.setdefault(part, {})
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount

    for part in network_costs(config, size, size):
        macs, place = part.cost.macs, part.name.rpartition(".")[2]
        weights = item * part.cost.parameters
        if part.name == "stem":
            first = batch * ceil_div(size, config.stem_strides[0]) ** 2 * config.stem_channels
            moved = weights + item * image * config.in_channels
            add("stem: convolutions", matrices=batch * sum(macs.values()), silu=first, norm=first, memory=moved)
        elif part.layout is None or part.stage is None:
            add("network: matrices", matrices=batch * sum(macs.values()), memory=weights)
        else:
            stage, (H, W) = config.stages[part.stage], part.layout.map
            elements = batch * H * W * stage.channels
            moved = weights + 2 * item * elements  # the map that enters, and the one that leaves
            here = f"stage {part.stage} {place}"
            if place == "downsample":
                add(f"{here}: convolutions", matrices=batch * sum(macs.values()), norm=elements, memory=moved)
            elif place == "mlp":
                hidden, depthwise = stage.expansion * elements, batch * macs["depthwise"]
                matrices = batch * (macs["expand"] + macs["contract"])
                add(f"{here}: matrices", matrices=matrices, memory=moved)
                add(f"{here}: SiLU and depthwise", depthwise=depthwise, silu=2 * hidden)
                add(f"{here}: norms", norm=2 * elements)
            else:
                add(f"{here}: matrices", matrices=batch * part.cost.projection_macs, memory=moved)
                add(f"{here}: products", matrices=batch * part.cost.attention_macs)
                add(f"{here}: norms", norm=_normed(stage, batch, H, W))
    return found


def _normed(stage: Stage, batch: int, H: int, W: int) -> int:
    """Elements that the norms of an attention read: the input, and with H-MHSA the local result and merged tokens."""
    tokens = H * W
    if stage.grid_size is not None and stage.pool_size is not None:
        tokens = 2 * tokens + ceil_div(H, stage.pool_size) * ceil_div(W, stage.pool_size)
    return batch * tokens * stage.channels


def bound(amounts: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """The least seconds for these amounts of work at these peak rates.

    >>> bound({"matrices": 100, "silu": 10, "memory": 300}, {"matrices": 50, "silu": 10, "memory": 50})
    6.0
    """
    arithmetic = sum(amount / rates[name] for name, amount in amounts.items() if name != "memory")
    return max(arithmetic, amounts.get("memory", 0) / rates["memory"])


def whole_bound(parts: Mapping[str, Work], rates: Mapping[str, float]) -> float:
    """The least seconds for all parts. Maps may stay in the caches between parts, so arithmetic alone counts."""
    return sum(bound({**amounts, "memory": 0}, rates) for amounts in parts.values())


@dataclass(frozen=True)
class Roofline:
    """The roofline of one network in one record."""

    network: str
    rates: dict[str, float]  # the highest of all processes
    parts: list[Bounded]
    whole: Bounded


def roofline(record: Record, network: str) -> Roofline | None:
    """Compare the times of a network's parts with their bounds; None if they were not measured.

    The times of the parts are scaled so that they add up to the median time of a batch in the rounds.
    """
    visit, throughput = record.roofline(network), record.throughput(network)
    if visit is None or throughput is None:
        return None
    settings = record.settings
    rates = {name: max(peaks[name] for peaks in visit.peaks) for name in visit.peaks[0]}
    times: dict[str, float] = {}
    for process in visit.parts:
        for part, spent in process.items():
            times[part] = times.get(part, 0) + spent
    seconds = visit.processes * settings.batch / throughput.median  # of one batch of one process
    scale = seconds / sum(times.values())
    needed = work(get_config(NETWORKS[network].model), settings.size, settings.batch, BYTES[settings.dtype])
    names = sorted(needed.keys() | times.keys(), key=_order)
    parts = [Bounded(name, scale * times.get(name, 0), bound(needed.get(name, {}), rates)) for name in names]
    return Roofline(network, rates, parts, Bounded("whole network", seconds, whole_bound(needed, rates)))


KINDS = ("convolutions", "matrices", "products", "SiLU and depthwise", "norms", "the rest")


MODULES = ("downsample", "attention", "mlp", "")


def _order(part: str) -> tuple[int, str, int, int]:
    """The stem, the stages one by one, then the rest of the network."""
    place, _, kind = part.partition(": ")
    first, _, rest = place.partition(" ")
    number, _, module = rest.partition(" ")
    return ("stem", "stage", "network").index(first), number, MODULES.index(module), KINDS.index(kind)
