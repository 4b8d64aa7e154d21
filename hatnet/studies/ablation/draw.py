"""The figure of an ablation (matplotlib, extra `train`); the same record gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hatnet.studies.ablation.arms import ARMS, BASE
from hatnet.studies.ablation.record import Record
from hatnet.studies.ablation.statistics import comparable, differences
from hatnet.studies.ablation.tables import relative_time
from hatnet.studies.common.drawing import STYLE, save

__all__ = ["draw_record", "save"]

# Okabe and Ito's colours, told apart by nearly all; each arm has its own marker too.
LOOKS = {
    "h-mhsa": ("#D55E00", "s"),
    "local": ("#0072B2", "^"),
    "global": ("#56B4E9", "P"),
    "mhsa": ("#000000", "o"),
    "pvt": ("#009E73", "v"),
    "none": ("#CC79A7", "X"),
    "small-windows": ("#E69F00", "<"),
    "large-windows": ("#E69F00", ">"),
    "fine-cells": ("#E69F00", "d"),
    "coarse-cells": ("#E69F00", "D"),
}
LOOKS |= {f"{name}-own": look for name, look in LOOKS.items() if f"{name}-own" in ARMS}


def draw_record(record: Record) -> Figure:
    """Accuracy by arm, every seed a mark; and against the time of a step, and MACs where they differ."""
    own = any(ARMS[arm].own_cost for arm in record.arms)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 3.6) if own else (10.5, 4.4), layout="constrained")
        figure.set_label(
            "Left: test accuracy of each kind of attention, a mark for every seed and a line for the mean. "
            f"Right: the mean accuracies against {'MACs and ' if own else ''}the time of a training step, in that of "
            "H-MHSA."
        )
        left, *middle, right = figure.subplots(1, 3 if own else 2, width_ratios=(1.45, 1, 1) if own else (1.45, 1))
        _draw_arms(left, record)
        for axes in middle:
            _draw_macs(axes, record)
        _draw_times(right, record)
        words = "Equal MLPs, each at its own cost" if own else "Equal parameters, equal MACs"
        figure.suptitle(f"{words}; on {record.settings.images.words}", fontsize=9)
    return figure


def _draw_arms(axes: Axes, record: Record) -> None:
    arms, against = record.arms, differences(record)
    base = _percent(record, BASE) if BASE in arms else None
    if base is not None:
        mean = fmean(base)
        margin = next((difference.margin for difference in against.values()), 0.0)
        if margin > 0:
            axes.axvspan(
                mean - margin,
                mean + margin,
                color="#000000",
                alpha=0.08,
                linewidth=0,
                label="not told from H-MHSA, 95 %",
            )
        axes.axvline(mean, color=LOOKS[BASE][0], linestyle="--", linewidth=1, label="mean of H-MHSA")
    for row, arm in enumerate(arms):
        colour, marker = LOOKS[arm]
        found = _percent(record, arm)
        axes.plot(found, [row] * len(found), marker, color=colour, markersize=5, alpha=0.75, markeredgewidth=0)
        axes.plot([fmean(found)] * 2, [row - 0.33, row + 0.33], color=colour, linewidth=2)
    variants = [row for row, arm in enumerate(arms) if arm not in _kinds()]
    if variants and variants[0]:
        axes.axhline(variants[0] - 0.5, color="#000000", linewidth=0.6)
    axes.set_yticks(range(len(arms)), [ARMS[arm].title for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test images classified right in %, after the last epoch")
    axes.set_title("Marks: seeds. Lines: means", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="best", framealpha=0.9)


def _draw_macs(axes: Axes, record: Record) -> None:
    for arm in record.arms:
        _mark(axes, record, arm, record.network(arm).macs / 1e6)
    axes.set_xlabel("MACs of one image in millions")
    axes.set_ylabel("test accuracy in %, mean and range")
    axes.set_title("Marked as on the left, against MACs", fontsize=9)


def _mark(axes: Axes, record: Record, arm: str, x: float, spread: Sequence[Sequence[float]] | None = None) -> None:
    """The mean of an arm, with the range of its seeds, and of `x` where it has one."""
    (colour, marker), found = LOOKS[arm], _percent(record, arm)
    mean = fmean(found)
    axes.errorbar(
        [x], [mean], xerr=spread, yerr=[[mean - min(found)], [max(found) - mean]], fmt=marker, color=colour,
        markersize=6, elinewidth=1,
    )  # fmt: skip


def _draw_times(axes: Axes, record: Record) -> None:
    step = next((times for times in record.times if times.what == "step"), None)
    for arm in record.arms:
        ratio = relative_time(step, arm) if step is not None else None
        if ratio is None:
            continue
        _mark(axes, record, arm, ratio.median, [[ratio.median - ratio.low], [ratio.high - ratio.median]])
    if step is None:
        axes.text(0.5, 0.5, "not timed yet", ha="center", transform=axes.transAxes)
        return
    axes.axvline(1, color=LOOKS[BASE][0], linestyle="--", linewidth=1)
    clock = "processor time" if step.clock == "cpu" else "time"
    axes.set_xlabel(f"{clock} of a training step, in that of H-MHSA")
    axes.set_ylabel("test accuracy in %, mean and range")
    axes.set_title("Marked as on the left, against time", fontsize=9)


def _percent(record: Record, arm: str) -> Sequence[float]:
    return [100 * accuracy for accuracy in comparable(record, arm)]


def _kinds() -> list[str]:
    """The arms that differ in more than G1 and G2."""
    return [name for name, arm in ARMS.items() if name == arm.kind]
