"""The figure of a record (matplotlib, extra `train`); the same record always gives the same bytes."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from hatnet.relatives import Attention
from hatnet.studies.common.drawing import STYLE
from hatnet.studies.common.statistics import Quartiles
from hatnet.studies.scaling.record import Point, Record
from hatnet.studies.scaling.tables import compared

CURVE_POINTS = 81  # of a formula


def draw_record(record: Record) -> Figure:
    """Left: time against tokens, with the formula's curve. Right: plain attention compared with H-MHSA."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        figure.set_label(
            "Two plots on logarithmic axes against the number of tokens. Left: time per call of each attention module, "
            "measured points on the curve of its formula. Right: time of plain attention over time of H-MHSA."
        )
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _draw_times(left, record)
        _draw_comparisons(right, record)
    return figure


def _draw_times(axes: Axes, record: Record) -> None:
    settings = record.settings
    for name, attention in settings.attentions().items():
        points = record.timed(name)
        if points:
            _draw_formula(axes, record, attention, points[-1].tokens)
            _draw_points(axes, record, attention, points)
    passes = "forward and backward" if settings.backward else "forward"
    _label_tokens(axes, record, list(settings.sizes))
    _label_times(axes)
    axes.set_ylabel(f"{'processor time' if settings.clock == 'cpu' else 'time'} per call ({passes}) in ms")
    axes.set_title("Points: median and quartiles. Curves: the formula, dotted where not measured", fontsize=9)
    axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)


def _draw_formula(axes: Axes, record: Record, attention: Attention, most_tokens: int) -> None:
    """The formula's MACs as time, at the measured rate; dotted beyond `most_tokens`, where it is a prediction."""
    settings, rate = record.settings, record.rate(attention.name)
    first, last = settings.side(min(settings.sizes)), settings.side(max(settings.sizes))
    sides = sorted({round(side) for side in np.geomspace(first, last, CURVE_POINTS)})
    curve = [1e3 * settings.batch * attention.cost(side, side).total_macs / rate for side in sides]
    tokens = [side**2 for side in sides]
    measured = sum(count <= most_tokens for count in tokens)
    line: dict[str, Any] = {"color": attention.colour, "linewidth": 1, "alpha": 0.7}
    axes.plot(tokens[:measured], curve[:measured], **line)
    axes.plot(tokens[measured - 1 :], curve[measured - 1 :], ":", **line)


def _draw_points(axes: Axes, record: Record, attention: Attention, points: list[Point]) -> None:
    exponent, label = record.exponent(attention.name), attention.label
    if exponent is not None:
        label += f": $N^{{{exponent.value:.2f}}}$"
    tokens, spreads = [point.tokens for point in points], [point.quartiles for point in points]
    _draw_quartiles(axes, attention, tokens, spreads, label, scale=1e3)


def _draw_comparisons(axes: Axes, record: Record) -> None:
    sizes = set()
    for attention, found in compared(record):
        tokens, clocks = [comparison.tokens for comparison in found], [comparison.clock for comparison in found]
        formula = [comparison.formula for comparison in found]
        _draw_quartiles(axes, attention, tokens, clocks, f"{attention.label}, measured")
        axes.plot(tokens, formula, "--", color=attention.colour, linewidth=1, label=f"{attention.label}, formula")
        sizes |= {comparison.size for comparison in found}
    axes.axhline(1, color="#000000", linewidth=0.8)
    _label_tokens(axes, record, list(sizes or record.settings.sizes))
    _label_times(axes)
    axes.set_ylabel("plain attention / H-MHSA")
    axes.set_title("Above the line H-MHSA is cheaper, below it plain attention", fontsize=9)
    if sizes:
        axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)


def _draw_quartiles(
    axes: Axes, attention: Attention, tokens: list[int], spreads: list[Quartiles], label: str, scale: float = 1.0
) -> None:
    below = [scale * (spread.median - spread.low) for spread in spreads]
    above = [scale * (spread.high - spread.median) for spread in spreads]
    axes.errorbar(
        tokens,
        [scale * spread.median for spread in spreads],
        yerr=[below, above],
        fmt=attention.marker,
        color=attention.colour,
        markersize=4.5,
        capsize=2,
        label=label,
    )


def _label_tokens(axes: Axes, record: Record, sizes: list[int]) -> None:
    settings, sizes = record.settings, sorted(sizes)
    axes.set_xscale("log")
    sides = [settings.side(size) for size in sizes]
    axes.set_xticks([side**2 for side in sides], [f"{side}²" for side in sides], fontsize=7.5)
    axes.xaxis.minorticks_off()
    axes.set_xlabel(f"tokens, for square images of {sizes[0]} to {sizes[-1]} pixels")


def _label_times(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=30))  # 0.5, 1, 2, 5, 10
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.minorticks_off()
