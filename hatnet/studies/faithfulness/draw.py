"""The figures of a study (matplotlib, extra `train`); the same record gives the same bytes."""

from __future__ import annotations

from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hatnet.studies.common.drawing import STYLE, save
from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.faithfulness.baselines import BASELINES
from hatnet.studies.faithfulness.curves import counts
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.record import Record, Score
from hatnet.studies.faithfulness.statistics import interval
from hatnet.studies.faithfulness.tables import title

__all__ = ["draw_curves", "draw_scores", "save"]

# Okabe and Ito's colours, told apart by nearly all; each map has its own marker too.
LOOKS = {
    "class-map": ("#D55E00", "s"),
    "rollout": ("#E69F00", "D"),
    "last-attention": ("#CC79A7", "v"),
    "grad-cam": ("#0072B2", "^"),
    "grad-cam-early": ("#56B4E9", "<"),
    "gradient-input": ("#009E73", "P"),
    "gradient": ("#5E8F00", "X"),
    "brightness": ("#8A8A8A", "d"),
    "random": ("#000000", "o"),
    "occlusion": ("#404040", "*"),
}
MEASURES = {
    "insertion": "area of insertion\nhigh is good",
    "deletion": "area of deletion\nlow is good",
    "occlusion": "rank correlation with the\nfall of the logit",
    "size": "rank correlation with the\nlogit's absolute change",
}
BANDS = ("class-map", "gradient-input", "random")  # of all, none could be told from another
LINES: dict[str, Literal["-", "-.", "--"]] = {"attention": "-", "gradient": "-.", "control": "--"}


def draw_curves(record: Record) -> Figure:
    """Probability against the part of the patches swapped: insertion and deletion, a row for each baseline."""
    with matplotlib.rc_context(STYLE):
        baselines = record.settings.baselines
        figure = Figure(figsize=(10.5, 0.9 + 3.5 * len(baselines)), layout="constrained")
        figure.set_label(
            "Probability of the class while patches of the image appear in a baseline (left), or disappear in it "
            "(right), in the order of each kind of map. Bands, for three of them: 95 % intervals over images."
        )
        panels = figure.subplots(len(baselines), 2, sharex=True, sharey="row", squeeze=False)
        for (left, right), baseline in zip(panels, baselines, strict=True):
            _curves(left, record, baseline, "insertion")
            _curves(right, record, baseline, "deletion")
            left.set_ylabel("mean probability of the class")
        for axes in panels[-1]:
            axes.set_xlabel("part of the patches that is swapped, in %")
        methods = [method for method in LOOKS if record.score(baselines[0], method) is not None]
        handles = [
            Line2D([], [], color=LOOKS[m][0], marker=LOOKS[m][1], linestyle=_line(m), markersize=5, label=title(m))
            for m in methods
        ]
        figure.legend(handles=handles, loc="outside right center", fontsize=8)
    return figure


def _curves(axes: Axes, record: Record, baseline: str, way: str) -> None:
    t = t_quantile(record.settings.images - 1)  # as in the tables
    for method, (colour, marker) in LOOKS.items():
        score = record.score(baseline, method)
        if score is None:
            continue
        means, errors = zip(*getattr(score, f"{way}_curve"), strict=True)
        patches = record.patches
        at = [100 * count / patches for count in counts(patches, len(means) - 1)]
        low, high = ([mean + sign * t * error for mean, error in zip(means, errors, strict=True)] for sign in (-1, 1))
        if method in BANDS:
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(at, means, color=colour, marker=marker, markersize=4, linewidth=1.2, linestyle=_line(method))
    words = "Insertion into" if way == "insertion" else "Deletion towards"
    axes.set_title(f"{words} {BASELINES[baseline]}", fontsize=9)


def _line(method: str) -> Literal["-", "-.", "--"]:
    return LINES[METHODS[method].kind if method in METHODS else "control"]


def draw_scores(record: Record) -> Figure:
    """Every measure of every map with its 95 % interval; hollow: drawn from untrained networks."""
    with matplotlib.rc_context(STYLE):
        baselines = record.settings.baselines
        figure = Figure(figsize=(10.5, 0.9 + 3.6 * len(baselines)), layout="constrained")
        figure.set_label(
            "Mean scores of each kind of map with 95 % intervals over images: insertion, deletion, and rank "
            "correlation with occlusion. Hollow marks: the same kind of map, drawn from untrained networks."
        )
        panels = figure.subplots(len(baselines), len(MEASURES), sharey=True, sharex="col", squeeze=False)
        for row, baseline in zip(panels, baselines, strict=True):
            for axes, measure in zip(row, MEASURES, strict=True):
                _scores(axes, record, baseline, measure)
            row[0].set_title(f"Baseline: {BASELINES[baseline]}", fontsize=9, loc="left")
        for axes, words in zip(panels[-1], MEASURES.values(), strict=True):
            axes.set_xlabel(words)
        handles = [
            Line2D([], [], color="#404040", marker="o", linestyle="-", label="map of the trained network"),
            Line2D(
                [], [], color="#404040", marker="o", linestyle="-", markerfacecolor="white", label="of untrained ones"
            ),
            Line2D([], [], color="#000000", linestyle=":", label="mean of random maps"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=8)
    return figure


def _scores(axes: Axes, record: Record, baseline: str, measure: str) -> None:
    methods = [method for method in LOOKS if record.score(baseline, method) is not None]
    random = record.score(baseline, "random")
    if random is not None:
        axes.axvline(interval(getattr(random, measure)).mean, color=LOOKS["random"][0], linestyle=":", linewidth=1)
    for row, method in enumerate(methods):
        if method == "occlusion" and measure == "occlusion":
            continue  # 1 by definition
        trained = record.score(baseline, method)
        if trained is not None:
            _dot(axes, trained, measure, row, hollow=False)
        for count, score in enumerate(record.untrained(baseline, method), start=1):
            _dot(axes, score, measure, row + 0.17 * count, hollow=True)
    axes.set_yticks(range(len(methods)), [title(method) for method in methods])
    axes.set_ylim(len(methods) - 0.3, -0.6)
    axes.grid(axis="y", visible=False)


def _dot(axes: Axes, score: Score, measure: str, row: float, hollow: bool) -> None:
    colour, marker = LOOKS[score.method]
    found = interval(getattr(score, measure))
    axes.errorbar(
        [found.mean], [row], xerr=[found.margin], fmt=marker, color=colour, markersize=3.5 if hollow else 5.5,
        markerfacecolor="white" if hollow else colour, elinewidth=1, alpha=0.8 if hollow else 1,
    )  # fmt: skip
