"""What a record says, as tables and sentences: for the terminal and for a page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import isnan

from hatnet.studies.ablation.arms import ARMS, BASE
from hatnet.studies.ablation.record import Network, Record, Times
from hatnet.studies.ablation.statistics import comparable, complete_seeds, differences
from hatnet.studies.common.statistics import Quartiles, quartiles
from hatnet.studies.common.table import Grid


def networks(record: Record) -> Grid:
    """What is held equal, and with which widths."""
    base = Network.of(record.settings.fit(BASE))
    rows = []
    for arm in [name for name in ARMS if any(network.arm == name for network in record.networks)]:
        network = record.network(arm)
        rows.append(
            (
                ARMS[arm].title,
                ", ".join(map(str, network.widths)),
                f"{network.parameters:,}\n{_percent(network.parameters / base.parameters)}",
                f"{network.macs / 1e6:.3f}\n{_percent(network.macs / base.macs)}",
                f"{network.attention_macs / 1e6:.3f}",
            )
        )
    columns = ("attention", "MLP widths\nby stage", "parameters", "MACs in\nmillions", "in products\nof attention")
    own = any(ARMS[network.arm].own_cost for network in record.networks)
    title = "MLPs as they are, and what it costs" if own else "What is held equal: parameters and MACs"
    return Grid(f"{title} of one image", columns, tuple(rows))


def results(record: Record) -> Grid:
    """Accuracy of each arm, its difference to H-MHSA, and how long it takes."""
    against, rows = differences(record), []
    for arm in record.arms:
        found = comparable(record, arm)
        difference = against.get(arm)
        cells = ("", "")
        if difference is not None:
            error = "" if isnan(difference.error) else f" ± {difference.error:.2f}"
            cells = (f"{difference.mean:+.2f}{error}", difference.verdict)
        rows.append(
            (
                ARMS[arm].title,
                f"{100 * statistics.fmean(found):.2f}\n{100 * min(found):.2f} to {100 * max(found):.2f}",
                *cells,
                *(_ratio(relative_time(times, arm)) for times in record.times),
            )
        )
    columns = (
        "attention", "accuracy, %\nrange", "less H-MHSA\npoints", "at 95 %\n",
        *("forward\ntime" if times.what == "forward" else "step\ntime" for times in record.times),
    )  # fmt: skip
    seeds = len(complete_seeds(record))
    settings = record.settings
    title = f"Test accuracy after the last of {settings.epochs} epochs, {counted(seeds)}, on {settings.images.words}"
    return Grid(title, columns, tuple(rows))


def relative_time(times: Times, arm: str) -> Quartiles | None:
    """Time of an arm over that of H-MHSA, round by round."""
    if not times.seconds.get(arm) or not times.seconds.get(BASE):
        return None
    return quartiles([a / b for a, b in zip(times.seconds[arm], times.seconds[BASE], strict=True)])


def findings(record: Record) -> list[str]:
    """Which arms can be told apart from H-MHSA, in sentences."""
    against = differences(record)
    if not against:
        return []
    margin = next(iter(against.values())).margin
    if isnan(margin):
        return ["One seed, or one arm, tells nothing about the spread: run more with --seeds."]
    sentences = [
        f"A difference of less than {margin:.2f} points can't be told from chance with "
        f"{counted(len(complete_seeds(record)))} (95 % interval for each arm, from the spread of all arms together)."
    ]
    for verdict, words in (
        ("better", "better than H-MHSA"),
        ("worse", "worse than H-MHSA"),
        ("unclear", "not told apart from H-MHSA"),
    ):
        arms = [
            f"{ARMS[arm].title} ({difference.mean:+.2f})"
            for arm, difference in against.items()
            if difference.verdict == verdict
        ]
        if arms:
            sentences.append(f"{words[0].upper()}{words[1:]}: {'; '.join(arms)}.")
    return sentences


def facts(record: Record) -> str:
    """Machine, versions and date, in a sentence."""
    machine = record.machine
    device = machine.get("gpu") or f"{machine['cpu']}, threads: {machine['threads']}"
    clocks = {"cpu": "processor time", "wall": "wall-clock time"}
    times = record.times[0] if record.times else None
    timed = ""
    if times is not None:
        rounds = len(next(iter(times.seconds.values())))
        timed = (
            f" Times are {clocks[times.clock]} of batches of {times.batch}, {rounds} rounds in turns: "
            "median and quartiles of the ratio to H-MHSA."
        )
    return (
        f"{record.date[:10]}, {device}, {machine['system']}, Python {machine['python']}, PyTorch {machine['torch']}."
        f"{timed}"
    )


def page(record: Record) -> str:
    """All of it, for the documentation."""
    blocks: Sequence[str] = (
        results(record).markdown(),
        "\n".join(f"- {sentence}" for sentence in findings(record)) + "\n",
        f"<small>{facts(record)}</small>\n",
    )
    return "\n".join(blocks)


def counted(seeds: int) -> str:
    """In words.

    >>> counted(1), counted(3)
    ('1 seed', '3 seeds')
    """
    return f"{seeds} seed" + "s" * (seeds != 1)


def _ratio(ratio: Quartiles | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f}\n{ratio.low:.2f} to {ratio.high:.2f}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"
