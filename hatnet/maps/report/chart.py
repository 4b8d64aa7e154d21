"""The agreement at a glance: the relative difference of every intermediate, in order of computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import floor, isfinite, log10

import numpy as np

from hatnet.equivalence import Agreement
from hatnet.maps.report.markup import Markup, element, scientific, times

EPSILON = float(np.finfo(np.float64).eps)
WIDTH, HEIGHT = 1080, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 1064, 30, 282  # of the plot
EXACT = 304  # where a difference of exactly 0 is drawn, which no log axis holds


def exceeds(agreement: Agreement, tolerance: float) -> bool:
    """Whether the two implementations differ by more than `tolerance`, or by NaN."""
    return not agreement.error <= tolerance


def severity(agreement: Agreement) -> float:
    """The error as something to sort by; NaN counts as infinite."""
    return agreement.error if agreement.error == agreement.error else float("inf")


def group_name(agreement: Agreement) -> str:
    """The part of the network an intermediate belongs to: `stem`, `stage 0`, ..., `logits`."""
    return agreement.name if agreement.place.stage is None else f"stage {agreement.place.stage}"


def is_output(agreement: Agreement) -> bool:
    """Whether it is what a block or the whole network hands on, and not a step on the way."""
    return agreement.place.stage is None or (
        agreement.place.block is not None and agreement.name.endswith(f"{agreement.place.block}.output")
    )


def agreement_chart(agreements: Sequence[Agreement], tolerance: float) -> Markup:
    """The chart as SVG: a mark an intermediate, with lines at the tolerance and at the precision of float64."""
    y, decades = _log_axis([agreement.error for agreement in agreements], tolerance)
    step = (RIGHT - LEFT) / len(agreements)
    xs = [LEFT + step * (index + 0.5) for index in range(len(agreements))]
    worst = max(range(len(agreements)), key=lambda index: severity(agreements[index]))
    return element(
        "svg",
        _groups(agreements, step),
        _grid(y, decades, any(agreement.error == 0 for agreement in agreements)),
        _line(y(tolerance), -6, f"tolerance {tolerance:g}", "tolerance"),
        _line(y(EPSILON), 16, f"float64 epsilon {EPSILON:.1e}", "epsilon"),
        (_mark(x, y, agreement, tolerance) for x, agreement in zip(xs, agreements, strict=True)),
        _label(xs[worst], y(agreements[worst].error), f"largest: {scientific(agreements[worst].error)}"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=f"Relative difference of {len(agreements)} intermediates on a logarithmic axis, in order of "
        f"computation. The largest is {scientific(agreements[worst].error)}, at {agreements[worst].name}; "
        f"the tolerance is {tolerance:g}.",
    )


def _log_axis(errors: Sequence[float], tolerance: float) -> tuple[Callable[[float], float], range]:
    """Where a difference lies on the vertical axis, and the powers of ten that are labelled."""
    shown = [error for error in errors if isfinite(error) and error > 0]
    low = floor(log10(min([*shown, EPSILON])))
    high = floor(log10(max([*shown, tolerance]))) + 1

    def y(error: float) -> float:
        if error == 0:
            return EXACT
        if not isfinite(error):
            return TOP
        return BOTTOM - (log10(error) - low) / (high - low) * (BOTTOM - TOP)

    every = -(-(high - low) // 8)  # at most eight or nine labels
    return y, range(low, high + 1, every)


def _grid(y: Callable[[float], float], decades: range, has_zeros: bool) -> list[Markup]:
    lines = [
        element("line", x1=LEFT, x2=RIGHT, y1=y(10.0**power), y2=y(10.0**power), class_="grid") for power in decades
    ]
    labels = [
        element("text", f"1e{power}", x=LEFT - 8, y=y(10.0**power) + 4, class_="tick", text_anchor="end")
        for power in decades
    ]
    if has_zeros:
        labels.append(element("text", "equal", x=LEFT - 8, y=EXACT + 4, class_="tick", text_anchor="end"))
    return lines + labels


def _groups(agreements: Sequence[Agreement], step: float) -> list[Markup]:
    """Bands behind the marks, one a stage, each with its name below."""
    drawn, start = [], 0
    for index, (name, members) in enumerate(groupby(agreements, key=group_name)):
        count = len(list(members))
        x, width = LEFT + start * step, count * step
        if index % 2:
            drawn.append(element("rect", x=x, y=TOP, width=width, height=EXACT + 8 - TOP, class_="band"))
        drawn.append(element("text", name, x=x + width / 2, y=EXACT + 28, class_="group", text_anchor="middle"))
        start += count
    return drawn


def _line(y: float, offset: int, text: str, kind: str) -> list[Markup]:
    return [
        element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_=kind),
        element("text", text, x=RIGHT - 4, y=y + offset, class_=f"halo {kind}-text", text_anchor="end"),
    ]


def _mark(x: float, y: Callable[[float], float], agreement: Agreement, tolerance: float) -> Markup:
    title = element("title", f"{agreement.name} ({times(*agreement.shape)}): {scientific(agreement.error)}")
    height = y(agreement.error)
    if exceeds(agreement, tolerance):  # another shape, not only another colour
        return element("path", title, d=f"M{x:.1f} {height - 8:.1f}l7 13h-14z", class_="exceeding")
    if is_output(agreement):
        return element("circle", title, cx=x, cy=height, r=4.5, class_="output")
    return element("circle", title, cx=x, cy=height, r=3, class_="step")


def _label(x: float, y: float, text: str) -> Markup:
    right = x > (LEFT + RIGHT) / 2
    anchor, dx = ("end", -9) if right else ("start", 9)
    return element("text", text, x=x + dx, y=max(y - 8, TOP + 12), class_="halo worst", text_anchor=anchor)
