"""Figures of kept records, of the choice of G1 and G2, and of Table 6; with matplotlib (extra `docs`).

The same record gives the same bytes: nothing is measured, dated or drawn at random here.
"""

from __future__ import annotations

import json
from itertools import pairwise
from math import log, sqrt
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from hatnet.complexity import h_mhsa, mhsa
from hatnet.complexity.window_sizes import cell_within_window, choose, valley
from hatnet.config import VARIANTS
from hatnet.studies.common.drawing import STYLE
from hatnet.studies.scaling.modules import CLASSIFICATION, DENSE
from hatnet.studies.scaling.record import Record

# Okabe and Ito's colours, told apart by nearly all; each module has its own marker too.
LOOKS = {
    "mhsa": ("#000000", "o"),
    "h-mhsa": ("#D55E00", "s"),
    "h-mhsa-dense": ("#E69F00", "D"),
    "swin": ("#0072B2", "^"),
    "pvt": ("#009E73", "v"),
    "pvt-v2": ("#56B4E9", "P"),
    "twins": ("#CC79A7", "X"),
}
LOWEST, HIGHEST = 0.04, 2.5  # ends of the heat map's colours, in costs of plain attention


def draw_record(record: Record) -> Figure:
    """Time against tokens with the formula's curve under the points, and H-MHSA against plain attention."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        figure.set_label(
            "Two plots on logarithmic axes against the number of tokens. Left: time of a call of each attention "
            "module, measured points on the curve of its formula. Right: time of plain attention over time of H-MHSA."
        )
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _draw_times(left, record)
        _draw_duels(right, record)
    return figure


def draw_choice() -> Figure:
    """The cost of H-MHSA over G1 and G2 at the three stages of HAT-Net Small at 224, and along G1 = G2."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 7.2), layout="constrained")
        figure.set_label(
            "Top: heat maps of the cost of H-MHSA over G1 and G2 at three stages; it falls with larger G2 and smaller "
            "G1. Bottom: the cost along G1 = G2, a valley whose floor is near the published sizes in the first stage."
        )
        norm = TwoSlopeNorm(vmin=log(LOWEST), vcenter=0, vmax=log(HIGHEST))
        axes = figure.subplots(2, 3, height_ratios=(1.15, 1))
        config = VARIANTS["small"]
        for stage, layout in enumerate(config.layout(224, 224)[:3]):
            side, C = layout.map[0], config.channels[stage]
            _draw_plane(axes[0, stage], stage, side, C, norm)
            _draw_valley(axes[1, stage], stage, side, C)
        bar = figure.colorbar(ScalarMappable(norm, "PuOr_r"), ax=list(axes[0]), pad=0.01)
        ticks = (0.05, 0.1, 0.2, 0.5, 1, 2)
        bar.set_ticks([log(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
        bar.set_label("MACs, in those of plain attention")
        axes[0, 0].set_ylabel("$G_2$, side of a cell in tokens")
        axes[1, 0].set_ylabel("MACs of one image, in millions")
    return figure


def draw_table6(path: Path) -> Figure:
    """Accuracy on COCO against cost for the pairs of Table 6."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.8), layout="constrained")
        figure.set_label(
            "Box AP against FLOPs for six choices of G1 and G2, from Table 6 of the paper. Smaller cells cost more and "
            "gain up to half a point; larger windows cost more and gain nothing."
        )
        axes = figure.subplots()
        for row in rows:
            colour = "#D55E00" if row.get("default") else "#0072B2" if row["G1"] == [8, 8, 8] else "#009E73"
            axes.plot(row["flops"], row["box"], "s" if row.get("default") else "o", color=colour)
            label = f"$G_1$ {_list(row['G1'])};  $G_2$ {_list(row['G2'])}" + (
                "  (default)" if row.get("default") else ""
            )
            above = row["G1"] == [8, 8, 8]
            right = row["flops"] > 330 or row["G1"] == [4, 4, 4]  # where a label to the right has no room
            axes.annotate(
                label,
                (row["flops"], row["box"]),
                xytext=(-7 if right else 7, 3 if above else -9),
                textcoords="offset points",
                ha="right" if right else "left",
                fontsize=7.5,
            )
        axes.set(
            xlabel="FLOPs in G, as the paper counts them", ylabel="box AP, points", xlim=(284, 342), ylim=(44.4, 45.9)
        )
        axes.set_title("Table 6 of the paper: Mask R-CNN with HAT-Net Small, COCO", fontsize=9)
    return figure


def _draw_times(axes: Axes, record: Record) -> None:
    settings = record.settings
    sides = _sides(record)
    for name, contender in settings.contenders().items():
        points = record.timed(name)
        if not points:
            continue
        colour, marker = LOOKS[name]
        exponent, label = record.exponent(name), contender.label
        if exponent is not None:
            label += f": $N^{{{exponent.value:.2f}}}$"
        rate = record.rate(name)
        curve = [1e3 * settings.batch * contender.cost(side, side).total_macs / rate for side in sides]
        measured = sum(side**2 <= points[-1].tokens for side in sides)  # beyond, the curve is a prediction
        squares = [side**2 for side in sides]
        axes.plot(squares[:measured], curve[:measured], color=colour, linewidth=1, alpha=0.7)
        axes.plot(squares[measured - 1 :], curve[measured - 1 :], ":", color=colour, linewidth=1, alpha=0.7)
        spread = [point.quartiles for point in points]
        axes.errorbar(
            [point.tokens for point in points],
            [1e3 * each.median for each in spread],
            yerr=[
                [1e3 * (each.median - each.low) for each in spread],
                [1e3 * (each.high - each.median) for each in spread],
            ],
            fmt=marker, color=colour, markersize=4.5, capsize=2, label=label,
        )  # fmt: skip
    what = "forward and backward" if settings.backward else "forward"
    _tokens_axis(axes, record, list(settings.sizes))
    axes.set_yscale("log")
    _plain_numbers(axes)
    axes.set_ylabel(f"{'processor time' if settings.clock == 'cpu' else 'time'} of a call ({what}) in ms")
    axes.set_title("Points: the clock, with quartiles. Curves: the formula, dotted beyond", fontsize=9)
    axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)


def _draw_duels(axes: Axes, record: Record) -> None:
    contenders, sizes = record.settings.contenders(), set()
    for name in ("h-mhsa", "h-mhsa-dense"):
        duels = record.duels(name) if name in contenders else []
        if not duels:
            continue
        colour, marker = LOOKS[name]
        sizes |= {duel.size for duel in duels}
        clocks, tokens = [duel.clock for duel in duels], [duel.tokens for duel in duels]
        low = [clock.median - clock.low for clock in clocks]
        high = [clock.high - clock.median for clock in clocks]
        axes.errorbar(
            tokens, [clock.median for clock in clocks], yerr=[low, high], fmt=marker, color=colour, markersize=4.5,
            capsize=2, label=f"{contenders[name].label}, by the clock",
        )  # fmt: skip
        axes.plot(
            tokens, [duel.formula for duel in duels], "--", color=colour, linewidth=1,
            label=f"{contenders[name].label}, MACs",
        )  # fmt: skip
    axes.axhline(1, color="#000000", linewidth=0.8)
    _tokens_axis(axes, record, list(sizes or record.settings.sizes))
    axes.set_yscale("log")
    _plain_numbers(axes)
    axes.set_ylabel("plain attention / H-MHSA")
    axes.set_title("Above the line H-MHSA is cheaper, below it plain attention", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)


def _tokens_axis(axes: Axes, record: Record, sizes: list[int]) -> None:
    settings = record.settings
    axes.set_xscale("log")
    sizes = sorted(sizes)
    axes.xaxis.set_major_locator(FixedLocator([settings.side(size) ** 2 for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{settings.side(size)}²" for size in sizes], fontsize=7.5)
    axes.set_xlabel(f"tokens, for images of {sizes[0]} to {sizes[-1]} pixels a side")


def _plain_numbers(axes: Axes) -> None:
    """On a logarithmic axis: 0.5, 1, 2, 5, 10 and so on, rather than powers of ten."""
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=30))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _sides(record: Record) -> list[int]:
    """Sides of the map to draw a curve through, even on a logarithmic axis."""
    ends = [record.settings.side(size) for size in (min(record.settings.sizes), max(record.settings.sizes))]
    steps = 80
    return sorted({round(ends[0] * (ends[1] / ends[0]) ** (step / steps)) for step in range(steps + 1)})


def _draw_plane(axes: Axes, stage: int, side: int, C: int, norm: TwoSlopeNorm) -> None:
    """The heat map of one stage, on logarithmic axes."""
    sizes = [size for size in (*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 36, 44, 56) if size <= side]
    edges = [sizes[0] / sqrt(2), *(sqrt(a * b) for a, b in pairwise(sizes)), sizes[-1] * sqrt(sizes[-1] / sizes[-2])]
    plain = mhsa(side, side, C).total_macs
    relative = [[log(h_mhsa(side, side, C, G1, G2).total_macs / plain) for G1 in sizes] for G2 in sizes]
    axes.grid(False)
    axes.pcolormesh(edges, edges, relative, norm=norm, cmap="PuOr_r", linewidth=0)
    ends, floor = (edges[0], edges[-1]), valley(side, side, C)
    axes.plot(ends, ends, ":", color="#000000", linewidth=1, label="$G_1 = G_2$")
    axes.plot(ends, [floor / end for end in ends], "--", color="#000000", linewidth=1, label="$G_1 G_2 = \\sqrt{HW+C}$")
    for (G1, G2), marker, label in (
        (CLASSIFICATION[stage], "o", "published, classification"),
        (DENSE[stage], "D", "published, dense tasks"),
    ):
        axes.plot(G1, G2, marker, markersize=7, markerfacecolor="#ffffff", markeredgecolor="#000000", label=label)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="$G_1$, side of a window in tokens")
    axes.set_title(f"stage {stage}: {side} x {side} tokens, C = {C}", fontsize=9)
    shown = [size for size in (1, 2, 4, 7, 14, 28, 56) if size <= side]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(shown))
        axis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(size) for size in shown])
    axes.set_yticklabels([str(size) for size in shown])
    if stage == 0:
        axes.legend(fontsize=7, loc="lower left", framealpha=0.9)


def _draw_valley(axes: Axes, stage: int, side: int, C: int) -> None:
    """The cost along G1 = G2, and its parts."""
    sides = range(2, side // 2 + 1)
    costs = {G: h_mhsa(side, side, C, G, G).macs for G in sides}
    near = [(costs[G]["Q1 K1^T"] + costs[G]["softmax V1"]) / 1e6 for G in sides]
    far = [(costs[G]["W2k W2v"] + costs[G]["Q2 K2^T"] + costs[G]["softmax V2"]) / 1e6 for G in sides]
    whole = [sum(costs[G].values()) / 1e6 for G in sides]
    best = choose(side, side, C, cell_within_window)
    axes.plot(sides, whole, color="#000000", label="all of H-MHSA")
    axes.plot(sides, near, color="#0072B2", label="near: windows")
    axes.plot(sides, far, color="#D55E00", label="far: merged tokens")
    axes.axhline(mhsa(side, side, C).total_macs / 1e6, color="#888888", linestyle=":", label="plain attention")
    axes.plot(best.G1, best.macs / 1e6, "*", color="#000000", markersize=11, label="the smallest with $G_2 \\leq G_1$")
    top = 1.6 * max(whole[0], mhsa(side, side, C).total_macs / 1e6) if stage else 4.5 * best.macs / 1e6
    axes.set(xscale="log", xlabel="$G = G_1 = G_2$", ylim=(0, top))
    axes.set_title(f"along $G_1 = G_2$: the smallest at {best.G1}", fontsize=9)
    shown = [size for size in (2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 28) if size <= side // 2]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(size) for size in shown])
    if stage == 0:
        axes.legend(fontsize=7, loc="upper right", framealpha=0.9)


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values))
