"""The figures about choosing G1 and G2: by cost, and by accuracy (matplotlib, extra `train`)."""

from itertools import pairwise
from math import log, sqrt
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from hatnet.complexity import h_mhsa_cost, mhsa_cost
from hatnet.complexity.window_sizes import cell_within_window, cheapest_window_sizes, valley
from hatnet.config import VARIANTS
from hatnet.relatives.registry import CLASSIFICATION_SIZES, DENSE_SIZES
from hatnet.studies.common.drawing import STYLE
from hatnet.studies.scaling.tables import listed, read_rows

LOWEST, HIGHEST = 0.04, 2.5  # ends of the heat map's colours, relative to plain attention
SIZES = (*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 36, 44, 56)  # of the heat map
LABELLED = (1, 2, 4, 7, 14, 28, 56)


def draw_window_sizes() -> Figure:
    """The cost of H-MHSA over G1 and G2 at the three stages of HAT-Net Small at 224 x 224, and along G1 = G2."""
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
        bar.set_label("MACs, relative to plain attention")
        axes[0, 0].set_ylabel("$G_2$, side of a cell in tokens")
        axes[1, 0].set_ylabel("MACs of one image, in millions")
    return figure


def _draw_plane(axes: Axes, stage: int, side: int, C: int, norm: TwoSlopeNorm) -> None:
    sizes = [size for size in SIZES if size <= side]
    edges = [sizes[0] / sqrt(2), *(sqrt(a * b) for a, b in pairwise(sizes)), sizes[-1] * sqrt(sizes[-1] / sizes[-2])]
    plain = mhsa_cost(side, side, C).total_macs
    relative = [[log(h_mhsa_cost(side, side, C, G1, G2).total_macs / plain) for G1 in sizes] for G2 in sizes]
    axes.grid(False)
    axes.pcolormesh(edges, edges, relative, norm=norm, cmap="PuOr_r", linewidth=0)
    ends, floor = (edges[0], edges[-1]), valley(side, side, C)
    axes.plot(ends, ends, ":", color="#000000", linewidth=1, label="$G_1 = G_2$")
    axes.plot(ends, [floor / end for end in ends], "--", color="#000000", linewidth=1, label="$G_1 G_2 = \\sqrt{HW+C}$")
    for (G1, G2), marker, label in (
        (CLASSIFICATION_SIZES[stage], "o", "published, classification"),
        (DENSE_SIZES[stage], "D", "published, dense tasks"),
    ):
        axes.plot(G1, G2, marker, markersize=7, markerfacecolor="#ffffff", markeredgecolor="#000000", label=label)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="$G_1$, side of a window in tokens")
    axes.set_title(f"stage {stage}: {side} x {side} tokens, C = {C}", fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        _label(axis, [size for size in LABELLED if size <= side])
    if stage == 0:
        axes.legend(fontsize=7, loc="lower left", framealpha=0.9)


def _draw_valley(axes: Axes, stage: int, side: int, C: int) -> None:
    sizes = range(2, side // 2 + 1)
    costs = [h_mhsa_cost(side, side, C, G, G).macs for G in sizes]
    total = [sum(cost.values()) / 1e6 for cost in costs]
    plain = mhsa_cost(side, side, C).total_macs / 1e6
    best = cheapest_window_sizes(side, side, C, cell_within_window)
    axes.plot(sizes, total, color="#000000", label="H-MHSA, total")
    for label, colour, terms in (
        ("near: windows", "#0072B2", ("Q1 K1^T", "softmax V1")),
        ("far: merged tokens", "#D55E00", ("W2k W2v", "Q2 K2^T", "softmax V2")),
    ):
        axes.plot(sizes, [sum(cost[term] for term in terms) / 1e6 for cost in costs], color=colour, label=label)
    axes.axhline(plain, color="#888888", linestyle=":", label="plain attention")
    axes.plot(best.G1, best.macs / 1e6, "*", color="#000000", markersize=11, label="cheapest with $G_2 \\leq G_1$")
    top = 1.6 * max(total[0], plain) if stage else 4.5 * best.macs / 1e6
    axes.set(xscale="log", xlabel="$G = G_1 = G_2$", ylim=(0, top))
    axes.set_title(f"along $G_1 = G_2$: cheapest at {best.G1}", fontsize=9)
    _label(axes.xaxis, [size for size in (2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 28) if size <= side // 2])
    if stage == 0:
        axes.legend(fontsize=7, loc="upper right", framealpha=0.9)


def _label(axis: Axis, sizes: list[int]) -> None:
    axis.set_ticks(sizes, labels=[str(size) for size in sizes])
    axis.minorticks_off()


def draw_table6(path: Path) -> Figure:
    """Accuracy on COCO against cost for the rows of Table 6, from a JSON file."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.8), layout="constrained")
        figure.set_label(
            "Box AP against FLOPs for six choices of G1 and G2, from Table 6 of the paper. Smaller cells cost more and "
            "gain up to half a point; larger windows cost more and gain nothing."
        )
        axes = figure.subplots()
        for row in read_rows(path):
            default, same_windows = row.get("default"), row["G1"] == [8, 8, 8]
            colour = "#D55E00" if default else "#0072B2" if same_windows else "#009E73"
            axes.plot(row["flops"], row["box"], "s" if default else "o", color=colour)
            left = row["flops"] > 330 or row["G1"] == [4, 4, 4]  # of the point, where its right side has no room
            axes.annotate(
                f"$G_1$ {listed(row['G1'])};  $G_2$ {listed(row['G2'])}{'  (default)' if default else ''}",
                (row["flops"], row["box"]),
                xytext=(-7 if left else 7, 3 if same_windows else -9),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=7.5,
            )
        axes.set(xlabel="FLOPs in G, as the paper counts them", ylabel="box AP, points")
        axes.set(xlim=(284, 342), ylim=(44.4, 45.9))
        axes.set_title("Table 6 of the paper: Mask R-CNN with HAT-Net Small, COCO", fontsize=9)
    return figure
