"""The figures of a record (matplotlib, extra `bench`); the same record always gives the same bytes."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.record import Record
from hatnet.studies.bench.roofline import KINDS, Bounded, Roofline
from hatnet.studies.bench.tables import GOAL, rooflines
from hatnet.studies.common.drawing import STYLE

COLOURS = dict(zip(KINDS, ("#6d4c41", "#1565c0", "#00838f", "#c2185b", "#7cb342", "#9e9e9e"), strict=True))


def draw_accuracy(record: Record) -> Figure:
    """Published accuracy against measured throughput, one point per network."""
    names = record.measured()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained")
        figure.set_label(
            "Published accuracy of each network on ImageNet against its measured images per second. To the upper right "
            "is better."
        )
        axes = figure.subplots()
        known = [accuracy for name in names if (accuracy := NETWORKS[name].accuracy) is not None]
        lowest = min(known, default=0) - 0.8
        if not known:
            axes.set_yticks([])
        for name in names:
            _draw_network(axes, record, name, lowest)
        what = "training" if record.settings.training else "inference"
        axes.set_xlabel(f"images/s, {what}, in the best layout: median and quartiles")
        axes.set_ylabel("top-1 accuracy on ImageNet in %, published, at 224 pixels")
        axes.set_xlim(left=0)
        axes.margins(y=0.12)
        if names:
            axes.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _draw_network(axes: Axes, record: Record, name: str, lowest: float) -> None:
    """A point with quartiles. A network without a published accuracy is at the lower end, and its label says so."""
    network, values = NETWORKS[name], record.throughput(name)
    assert values is not None
    label = network.label if network.accuracy is not None else f"{network.label} (accuracy not published)"
    axes.errorbar(
        [values.median],
        [lowest if network.accuracy is None else network.accuracy],
        xerr=[[values.median - values.low], [values.high - values.median]],
        fmt=network.marker,
        color=network.colour,
        markersize=6,
        capsize=2,
        alpha=0.9,
        markerfacecolor="none" if network.model in ("tiny", "pvt_v2_b1") else network.colour,
        label=f"{label}: {values.median:,.0f}" if values.median >= 100 else f"{label}: {values.median:.3g}",
    )


def draw_rooflines(record: Record) -> Figure:
    """One panel per network: the time of each place beside its bound, by kind of work."""
    found = rooflines(record)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.6 + 3.9 * max(len(found), 1)), layout="constrained")
        figure.set_label(
            "For each place of each network two bars: the measured time by kind of work, and below it the least "
            "time by the peak rates of the machine. The ratio in % is beside them."
        )
        for axes, roofline in zip(figure.subplots(max(len(found), 1), squeeze=False)[:, 0], found, strict=False):
            _draw_roofline(axes, roofline)
        handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7.5)
    return figure


def _draw_roofline(axes: Axes, roofline: Roofline) -> None:
    places = _places(roofline.parts)
    longest = max(sum(part.seconds for part in parts) for parts in places.values())
    for row, parts in enumerate(places.values()):
        measured = _draw_bar(axes, row - 0.19, [(part, part.seconds) for part in parts], alpha=1.0)
        least = _draw_bar(axes, row + 0.19, [(part, part.bound) for part in parts], alpha=0.5)
        if measured and least:
            axes.text(max(measured, least) + 0.01e3 * longest, row, f"{100 * least / measured:.0f} %", va="center")
    axes.set_yticks(range(len(places)), list(places))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.1e3 * longest)
    axes.set_xlabel("ms per batch: measured (above), least by the peak rates (below, pale)")
    whole = 100 * roofline.whole.reached
    label = NETWORKS[roofline.network].label
    axes.set_title(f"{label}: {whole:.0f} % of its own roofline (goal: {100 * GOAL:.0f} %)", fontsize=9)


def _draw_bar(axes: Axes, height: float, lengths: list[tuple[Bounded, float]], alpha: float) -> float:
    """One bar of segments by kind; returns its end, in ms."""
    end = 0.0
    for part, seconds in lengths:
        colour = COLOURS[part.part.partition(": ")[2]]
        axes.barh(height, 1e3 * seconds, left=end, height=0.36, color=colour, alpha=alpha)
        end += 1e3 * seconds
    return end


def _places(parts: list[Bounded]) -> dict[str, list[Bounded]]:
    """The parts of each place, in order."""
    places: dict[str, list[Bounded]] = {}
    for part in parts:
        places.setdefault(part.part.partition(": ")[0], []).append(part)
    return places
