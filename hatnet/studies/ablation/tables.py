"""Tables and sentences that summarise a record, for the terminal and for a page."""

from math import isnan
from statistics import fmean

from hatnet.studies.ablation.arms import ARMS, BASE
from hatnet.studies.ablation.record import Network, Record, Times
from hatnet.studies.ablation.statistics import compared_accuracies, complete_seeds, differences
from hatnet.studies.common import table
from hatnet.studies.common.statistics import Quartiles, quartiles
from hatnet.studies.common.table import Grid

VERDICTS = {"better": "better", "worse": "worse", "unclear": "no", "-": "-"}


def networks(record: Record) -> Grid:
    """Table of the networks: MLP widths, parameters and MACs, compared with the H-MHSA network."""
    base = Network.of(record.settings.matched(BASE))
    rows = tuple(
        (
            ARMS[network.arm].title,
            ", ".join(map(str, network.widths)),
            f"{network.parameters:,}\n{_percent(network.parameters / base.parameters)}",
            f"{network.macs / 1e6:.3f}\n{_percent(network.macs / base.macs)}",
            f"{network.attention_macs / 1e6:.3f}",
        )
        for network in sorted(record.networks, key=lambda network: list(ARMS).index(network.arm))
    )
    columns = ("attention", "MLP widths\nby stage", "parameters", "MACs in\nmillions", "in products\nof attention")
    own_cost = any(ARMS[network.arm].own_cost for network in record.networks)
    equal = "parameters and MACs" if record.settings.data_set.question is None else "MACs"
    title = "Equal MLPs: parameters and MACs per image" if own_cost else f"Equal {equal} per image"
    return Grid(title, columns, rows)


def results(record: Record) -> Grid:
    """Table of the results: accuracy of each arm, its difference from H-MHSA, and its times relative to H-MHSA."""
    against, rows = differences(record), []
    for arm in record.arms:
        accuracies = compared_accuracies(record, arm)
        difference, cells = against.get(arm), ("", "")
        if difference is not None:
            error = "" if isnan(difference.error) else f" ± {difference.error:.2f}"
            cells = (f"{difference.mean:+.2f}{error}", VERDICTS[difference.verdict])
        rows.append(
            (
                ARMS[arm].title,
                f"{fmean(accuracies):.2f}\n{min(accuracies):.2f} to {max(accuracies):.2f}",
                *cells,
                *(_ratio(relative_time(times, arm)) for times in record.times),
            )
        )
    times = (f"{times.what}\ntime" for times in record.times)
    columns = ("attention", "accuracy, %\nrange", "difference from\nH-MHSA, points", "detected\nat 95 %", *times)
    epochs, seeds = record.settings.epochs, count_seeds(len(complete_seeds(record)))
    after = f"the last of {epochs} epochs" if epochs > 1 else "one epoch"
    title = f"Test accuracy after {after}, {seeds}, on {record.settings.data_set.title}"
    return Grid(title, columns, tuple(rows))


def relative_time(times: Times, arm: str) -> Quartiles | None:
    """Time of an arm relative to H-MHSA, round by round; None if one of them was not timed."""
    if not times.seconds.get(arm) or not times.seconds.get(BASE):
        return None
    return quartiles([a / b for a, b in zip(times.seconds[arm], times.seconds[BASE], strict=True)])


def findings(record: Record) -> list[str]:
    """Sentences on the arms that differ significantly from H-MHSA."""
    against = differences(record)
    if not against:
        return []
    margin = next(iter(against.values())).margin
    if isnan(margin):
        return ["One seed, or one arm, gives no estimate of the spread: run more with --seeds."]
    seeds = count_seeds(len(complete_seeds(record)))
    sentences = [
        f"With {seeds}, a difference below {margin:.2f} points may be chance (95 % interval for each arm, from the "
        "spread of all arms together)."
        if margin
        else f"All {seeds} of each arm agree exactly, so their spread gives no interval."
    ]
    for verdict, words in (
        ("better", "Better than H-MHSA"),
        ("worse", "Worse than H-MHSA"),
        ("unclear", "No detectable difference from H-MHSA"),
    ):
        arms = [f"{ARMS[arm].title} ({found.mean:+.2f})" for arm, found in against.items() if found.verdict == verdict]
        if arms:
            sentences.append(f"{words}: {'; '.join(arms)}.")
    return sentences


def facts(record: Record) -> str:
    """A sentence with the date, the machine and the versions, and one on the times."""
    machine = record.machine
    device = machine.get("gpu") or f"{machine['cpu']}, threads: {machine['threads']}"
    sentence = (
        f"{record.date[:10]}, {device}, {machine['system']}, Python {machine['python']}, PyTorch {machine['torch']}."
    )
    if not record.times:
        return sentence
    times = record.times[0]
    clock = {"cpu": "processor time", "wall": "wall-clock time"}[times.clock]
    rounds = len(next(iter(times.seconds.values())))
    return (
        f"{sentence} Times are {clock} of batches of {times.batch}, with all arms in turn in {rounds} rounds: "
        "median and quartiles of the ratio to H-MHSA."
    )


def page(record: Record) -> str:
    """Markdown for the page: the findings, the results and the facts."""
    return (
        "".join(f"- {sentence}\n" for sentence in findings(record))
        + "\n"
        + table.page([results(record)], (), facts(record))
    )


def count_seeds(seeds: int) -> str:
    """Format a number of seeds: 1 seed, 3 seeds."""
    return f"{seeds} seed" + "s" * (seeds != 1)


def _ratio(ratio: Quartiles | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f}\n{ratio.low:.2f} to {ratio.high:.2f}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"
