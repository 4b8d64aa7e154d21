"""The figure and the tables of `docs/measurements/precision.json`, which `python -m tests.measure_precision` writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hatnet.config import get_config
from hatnet.files import read_json
from hatnet.studies.common.drawing import STYLE

Values = list[list[float]]  # one row per seed, one column per block

VARIANTS = ("tiny", "small", "medium", "large")
ROUNDOFF = {"float32": 24, "TF32": 11, "float16": 11, "bfloat16": 8}  # u = 2^-n, the largest relative error of rounding
EMULATED = {"TF32": "TF32, emulated"}
LOOKS = {  # colours that remain distinct for colour-blind readers, and markers
    "float32": ("#0072B2", "o"),
    "TF32": ("#E69F00", "s"),
    "float16": ("#009E73", "^"),
    "bfloat16": ("#D55E00", "D"),
}
PASSES = {
    "output": "forward: error of the block's output",
    "gradient": "backward: error of the gradient\nwith respect to the block's output",
}


@dataclass(frozen=True)
class Record:
    """Everything that was measured; see `tests/measure_precision.py`."""

    date: str
    machine: dict[str, Any]
    loss_scale: float
    noise: list[dict[str, Any]]
    runs: list[dict[str, Any]]

    def label(self, name: str) -> str:
        """The name of a format as printed. A CPU emulates TF32."""
        return name if "gpu" in self.machine else EMULATED.get(name, name)

    def rows(self, variant: str, weights: str, name: str) -> list[dict[str, Any]]:
        """The runs of one network in one format, one per seed. KeyError if there are none."""
        keys = {"variant": variant, "weights": weights, "format": name}
        found = [run for run in self.runs if all(run[key] == value for key, value in keys.items())]
        if not found:
            raise KeyError(f"the record has no run of {variant} with {weights} weights in {name}")
        return found

    def errors(self, variant: str, weights: str, name: str, measure: str, rounding: str = "same") -> Values:
        """Relative L2 errors, one row per seed. `rounding` is `same`, arithmetic alone, or `all`, with the weights'."""
        return [run[rounding][measure] for run in self.rows(variant, weights, name)]


def read(path: Path) -> Record:
    """Read a record. Raises ValueError for a file of another kind."""
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.pop("kind", None) != "tests.measure_precision":
        raise ValueError(f"{path} is not a record of tests.measure_precision")
    return Record(**facts)


def unit_roundoff(name: str) -> float:
    """The unit roundoff u of a format, also by autocast.

    >>> unit_roundoff("bfloat16 by autocast") == 2**-8
    True
    """
    return 2.0 ** -ROUNDOFF[name.partition(" by ")[0].partition(",")[0]]


def growth(errors: Values) -> list[float]:
    """The exponent p of error = a n^p for each seed, by least squares on logarithms; n counts columns from 1.

    >>> [round(p, 3) for p in growth([[3.0, 6.0, 9.0], [5.0, 5.0, 5.0]])]
    [1.0, 0.0]
    """
    return [float(np.polyfit(np.log(np.arange(1, len(row) + 1)), np.log(row), 1)[0]) for row in errors]


def draw(record: Record) -> Figure:
    """Errors by depth in units of u: forward above, backward below, one column per variant."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.2), layout="constrained")
        figure.set_label(
            "Relative error of each block in units of u, for four variants and four formats. Above: outputs, forward. "
            "Below: gradients, backward. Lines: medians over seeds. Bands: ranges. Dotted lines: borders of stages."
        )
        panels = figure.subplots(len(PASSES), len(VARIANTS), sharex="col", sharey="row", squeeze=False)
        for row, (measure, words) in zip(panels, PASSES.items(), strict=True):
            for axes, variant in zip(row, VARIANTS, strict=True):
                _draw_panel(axes, record, variant, measure)
            row[0].set_ylim(bottom=0)
            row[0].set_ylabel(f"{words}\n(relative L2 error / u)")
        for axes, variant in zip(panels[0], VARIANTS, strict=True):
            axes.set_title(f"HAT-Net {variant.capitalize()}", fontsize=9)
        for axes in panels[-1]:
            axes.set_xlabel("block, from the image to the logits")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(LOOKS), fontsize=8)
    return figure


def _draw_panel(axes: Axes, record: Record, variant: str, measure: str) -> None:
    """The median over seeds and the range of each format; dotted lines between the stages."""
    for name, (colour, marker) in LOOKS.items():
        values = np.array(record.errors(variant, "random", name, measure)) / unit_roundoff(name)  # (seeds, blocks)
        x = np.arange(1, values.shape[1] + 1)
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        label = f"{record.label(name)}, u = $2^{{-{ROUNDOFF[name]}}}$ = {unit_roundoff(name):.1e}"
        axes.plot(x, np.median(values, axis=0), color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=label)
    for border in np.cumsum(get_config(variant).depths)[:-1]:
        axes.axvline(border + 0.5, color="#404040", linestyle=":", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
