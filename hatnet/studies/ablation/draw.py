"""The figure of an ablation (matplotlib, extra `studies`). The same record always gives the same bytes."""

from collections.abc import Sequence
from statistics import fmean

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hatnet.studies.ablation.arms import ARMS, BASE
from hatnet.studies.ablation.record import Record
from hatnet.studies.ablation.statistics import compared_accuracies, differences
from hatnet.studies.ablation.tables import relative_time
from hatnet.studies.common.drawing import STYLE


def draw_record(record: Record) -> Figure:
    """Draw the accuracy of every arm, with one mark per seed; then against time, and against MACs where they differ."""
    own_cost = any(ARMS[arm].own_cost for arm in record.arms)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 3.6) if own_cost else (10.5, 4.4), layout="constrained")
        figure.set_label(
            "Left: test accuracy of each kind of attention, one mark per seed and a line for the mean. "
            f"Right: mean accuracy against {'MACs and ' if own_cost else ''}the time of a training step, relative to "
            "H-MHSA."
        )
        ratios = (1.45, 1, 1) if own_cost else (1.45, 1)
        left, *middle, right = figure.subplots(1, len(ratios), width_ratios=ratios)
        _draw_arms(left, record)
        for axes in middle:
            _draw_macs(axes, record)
        _draw_times(right, record)
        equal = "Equal parameters, equal MACs" if record.settings.data_set.question is None else "Equal MACs"
        words = "Equal MLPs, each at its own cost" if own_cost else equal
        figure.suptitle(f"{words}; on {record.settings.data_set.title}", fontsize=9)
    return figure


def _draw_arms(axes: Axes, record: Record) -> None:
    """One row per arm: a mark for each seed, a line at the mean."""
    arms = record.arms
    if BASE in arms:  # a line at its mean, and a band for differences that are not significant
        mean = fmean(compared_accuracies(record, BASE))
        margin = next((difference.margin for difference in differences(record).values()), 0.0)
        if margin > 0:
            ends = mean - margin, mean + margin
            axes.axvspan(*ends, color="#000000", alpha=0.08, linewidth=0, label="not significant, 95 %")
        axes.axvline(mean, color=ARMS[BASE].colour, linestyle="--", linewidth=1, label="mean of H-MHSA")
    for row, arm in enumerate(arms):
        accuracies, colour = compared_accuracies(record, arm), ARMS[arm].colour
        axes.plot(
            accuracies, [row] * len(accuracies), ARMS[arm].marker, color=colour, markersize=5, alpha=0.75,
            markeredgewidth=0,
        )  # fmt: skip
        axes.plot([fmean(accuracies)] * 2, [row - 0.33, row + 0.33], color=colour, linewidth=2)
    variants = [row for row, arm in enumerate(arms) if ARMS[arm].is_variant]
    if variants and variants[0]:
        axes.axhline(variants[0] - 0.5, color="#000000", linewidth=0.6)
    axes.set_yticks(range(len(arms)), [ARMS[arm].title for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test accuracy in %, after the last epoch")
    axes.set_title("Marks: seeds. Lines: means", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="best", framealpha=0.9)


def _draw_macs(axes: Axes, record: Record) -> None:
    for arm in record.arms:
        _mark(axes, record, arm, record.network(arm).macs / 1e6)
    axes.set_xlabel("MACs of one image in millions")
    axes.set_ylabel("test accuracy in %, mean and range")
    axes.set_title("Marked as on the left, against MACs", fontsize=9)


def _draw_times(axes: Axes, record: Record) -> None:
    step = record.times_of("step")
    if step is None:
        axes.text(0.5, 0.5, "not timed yet", ha="center", transform=axes.transAxes)
        return
    for arm in record.arms:
        ratio = relative_time(step, arm)
        if ratio is not None:
            _mark(axes, record, arm, ratio.median, [[ratio.median - ratio.low], [ratio.high - ratio.median]])
    axes.axvline(1, color=ARMS[BASE].colour, linestyle="--", linewidth=1)
    clock = "processor time" if step.clock == "cpu" else "time"
    axes.set_xlabel(f"{clock} of a step, relative to H-MHSA")
    axes.set_ylabel("test accuracy in %, mean and range")
    axes.set_title("Marked as on the left, against time", fontsize=9)


def _mark(axes: Axes, record: Record, arm: str, x: float, spread: Sequence[Sequence[float]] | None = None) -> None:
    """The mean accuracy of an arm at `x`, with the range of its seeds, and the spread of `x` if it has one."""
    accuracies = compared_accuracies(record, arm)
    mean = fmean(accuracies)
    axes.errorbar(
        [x], [mean], xerr=spread, yerr=[[mean - min(accuracies)], [max(accuracies) - mean]], fmt=ARMS[arm].marker,
        color=ARMS[arm].colour, markersize=6, elinewidth=1,
    )  # fmt: skip
