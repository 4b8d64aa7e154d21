"""The figures of a study (matplotlib, extra `studies`). The same record always gives the same bytes."""

from itertools import zip_longest
from math import ceil
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hatnet.studies.common.drawing import STYLE
from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.faithfulness.curves import patch_counts
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.patches import BASELINES
from hatnet.studies.faithfulness.record import Record, Score
from hatnet.studies.faithfulness.statistics import interval
from hatnet.studies.faithfulness.tables import title

Line = Literal["-", "-.", "--"]

LINES: dict[str, Line] = {"attention": "-", "gradient": "-.", "control": "--"}
LOOKS = {name: (*method.look, LINES[method.kind]) for name, method in METHODS.items()}  # colour, marker, line
RANDOM = "#a0a0a0"
LOOKS["occlusion"] = ("#404040", "*", LINES["control"])
MEASURES = {
    "insertion": "area of insertion\nhigh is good",
    "deletion": "area of deletion\nlow is good",
    "occlusion": "rank correlation with the\ndrop of the logit",
    "size": "rank correlation with the\nlogit's absolute change",
}
COLUMNS = 3  # of panels of curves: more would be too small on a phone
STEPS: dict[str, Line] = {"insertion": "-", "deletion": "--"}


def draw_curves(record: Record) -> Figure:
    """Draw one panel for each kind of map and baseline: insertion and deletion, beside those of random maps."""
    baselines = record.settings.baselines
    compared = [method for method in LOOKS if method in record.trained(baselines[0])]
    compared = [method for method in compared if method != "random"] or compared
    rows = ceil(len(compared) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, len(baselines) * (0.7 + 1.35 * rows)), layout="constrained")
        figure.set_label(
            "One panel for each kind of map: mean probability of the class while patches of the image appear in a "
            "baseline (solid), or disappear in it (dashed), in the order of the map, with 95 % intervals over images. "
            "Grey: random maps. The wider the map's two curves are apart, the better it is."
        )
        blocks = figure.subfigures(len(baselines), 1, squeeze=False)[:, 0]
        for block, baseline in zip(blocks, baselines, strict=True):
            panels = block.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
            for axes, method in zip_longest(panels.flat, compared):
                if method is None:
                    axes.remove()
                else:
                    _curves(axes, record, baseline, method)
            block.suptitle(f"Mean probability of the class. Baseline: {BASELINES[baseline]}", fontsize=9.5)
            panels[-1, 0].set(xlabel="replaced patches in %", xticks=[0, 50, 100])
        handles = [Line2D([], [], color="#404040", linestyle=line, label=name) for name, line in STEPS.items()]
        handles.append(Line2D([], [], color=RANDOM, label="random maps"))
        blocks[-1].legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _curves(axes: Axes, record: Record, baseline: str, method: str) -> None:
    """Draw the mean curves of one method over images with their 95 % intervals, as in the tables, and random curves."""
    t, trained = t_quantile(record.settings.images - 1), record.trained(baseline)
    colour = LOOKS[method][0]
    for measure, line in STEPS.items():
        means, errors = zip(*getattr(trained[method], f"{measure}_curve"), strict=True)
        percent = [100 * count / record.patches for count in patch_counts(record.patches, len(means) - 1)]
        if "random" in trained and method != "random":
            chance = [mean for mean, _ in getattr(trained["random"], f"{measure}_curve")]
            axes.plot(percent, chance, color=RANDOM, linewidth=1, linestyle=line)
        low, high = ([mean + s * t * error for mean, error in zip(means, errors, strict=True)] for s in (-1, 1))
        axes.fill_between(percent, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(percent, means, color=colour, linewidth=1.6, linestyle=line)
    axes.set_title(title(method), fontsize=9)


def draw_scores(record: Record) -> Figure:
    """Draw every score with its 95 % interval, one row per baseline; hollow marks are maps of untrained networks."""
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
            Line2D([], [], color="#404040", marker="o", label="map of the trained network"),
            Line2D([], [], color="#404040", marker="o", markerfacecolor="white", label="of untrained networks"),
            Line2D([], [], color="#000000", linestyle=":", label="mean of random maps"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=8)
    return figure


def _scores(axes: Axes, record: Record, baseline: str, measure: str) -> None:
    """Draw one measure: one row per method, a dotted line at the mean of random maps."""
    trained = record.trained(baseline)
    methods = [method for method in LOOKS if method in trained]
    if "random" in trained:
        mean = interval(getattr(trained["random"], measure)).mean
        axes.axvline(mean, color=LOOKS["random"][0], linestyle=":", linewidth=1)
    for row, method in enumerate(methods):
        if method == measure == "occlusion":
            continue  # 1 by definition
        _dot(axes, trained[method], measure, row, hollow=False)
        for count, score in enumerate(record.untrained(baseline, method), start=1):
            _dot(axes, score, measure, row + 0.17 * count, hollow=True)
    axes.set_yticks(range(len(methods)), [title(method) for method in methods])
    axes.set_ylim(len(methods) - 0.3, -0.6)
    axes.grid(axis="y", visible=False)


def _dot(axes: Axes, score: Score, measure: str, row: float, hollow: bool) -> None:
    colour, marker, _ = LOOKS[score.method]
    found = interval(getattr(score, measure))
    axes.errorbar(
        [found.mean], [row], xerr=[found.margin], fmt=marker, color=colour, markersize=3.5 if hollow else 5.5,
        markerfacecolor="white" if hollow else colour, elinewidth=1, alpha=0.8 if hollow else 1,
    )  # fmt: skip
