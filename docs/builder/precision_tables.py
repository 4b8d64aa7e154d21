"""The tables and sentences of `docs/measurements/precision.json`, as Markdown."""

from collections.abc import Iterable
from itertools import product

import torch

from builder.precision import LOOKS, VARIANTS, Record, growth, unit_roundoff
from hatnet.config import get_config
from hatnet.equivalence import TOLERANCES
from hatnet.studies.common.table import Grid, page

AUTOCAST = ("float16 by autocast", "bfloat16 by autocast")
WEIGHTS = {"random": "random, of unit gain", "fresh": "fresh, as training starts", "trained": "trained"}


def limits(record: Record) -> Grid:
    """The distance from the reference in every precision, and the limit of the tests."""
    rows = []
    for noise in record.noise:
        limit = TOLERANCES[getattr(torch, noise["dtype"])]
        rows.append(
            (noise["dtype"], number(noise["median"]), number(noise["largest"]), f"{limit:.0e}".replace("e-0", "e-"))
        )
    return Grid("Distance from the reference", ("precision", "median", "largest", "limit"), tuple(rows))


def by_format(record: Record) -> Grid:
    """Errors of the four variants in every format, with the rounding of weights and pixels."""
    rows = []
    for name in (*LOOKS, *AUTOCAST):
        found = {
            measure: [error for variant in VARIANTS for error in record.errors(variant, "random", name, measure, "all")]
            for measure in ("logits", "gradient", "parameters")
        }
        logits = [row[0] for row in found["logits"]]
        first = [row[0] for row in found["gradient"]]
        worst = [max(row) for row in found["parameters"]]
        cells = (interval(values) for values in (logits, first, worst))
        rows.append((record.label(name), number(unit_roundoff(name)), *cells))
    columns = ("precision", "u", "logits", "gradient at the\nfirst block", "gradients of\nparameters")
    return Grid("Relative L2 errors, with the rounding of weights and pixels", columns, tuple(rows))


def by_depth(record: Record) -> Grid:
    """Errors at the first and the last block in units of u, and the exponents of growth, over formats and seeds."""
    rows = []
    groups = {"float32": ("float32",), "the others": tuple(name for name in LOOKS if name != "float32")}
    for variant, (title, names) in product(VARIANTS, groups.items()):
        cells = [f"{variant.capitalize()}, {title}", str(sum(get_config(variant).depths))]
        for measure in ("output", "gradient"):
            rescaled, exponents = [], []
            for name in names:
                errors = record.errors(variant, "random", name, measure)
                along = [row[::-1] for row in errors] if measure == "gradient" else errors  # the way of computation
                rescaled += [[error / unit_roundoff(name) for error in row] for row in along]
                exponents += growth(along)
            ends = (interval([row[end] for row in rescaled], "{:.1f}") for end in (0, -1))
            cells += [*ends, interval(exponents, "{:.2f}")]
        rows.append(tuple(cells))
    columns = (
        "variant and precision", "blocks", "forward:\nfirst block", "last block", "p",
        "backward:\nlast block", "first block", "p",
    )  # fmt: skip
    return Grid("Growth with depth: relative L2 error / u, and the exponent p", columns, tuple(rows))


def by_weights(record: Record) -> Grid:
    """The network micro with three kinds of weights, in units of u, and the zeros of float16."""
    rows = []
    for weights, title in WEIGHTS.items():
        cells = []
        for measure, pick in (("logits", max), ("gradient", lambda row: row[0]), ("parameters", max)):
            values = [
                pick(row) / unit_roundoff(name)
                for name in LOOKS
                for row in record.errors("micro", weights, name, measure)
            ]
            cells.append(interval(values, "{:.1f}"))
        runs = (record.rows("micro", weights, name) for name in ("float16, loss not scaled", "float16"))
        zeros = (f"{100 * max(max(run['zero']) for run in seeds):.2g} %" for seeds in runs)
        rows.append((title, *cells, *zeros))
    columns = (
        "weights", "logits", "gradient at the\nfirst block", "gradients of\nparameters",
        "zeros in float16,\nloss not scaled", "loss scaled",
    )  # fmt: skip
    return Grid("Micro on clothes: relative L2 error / u for three kinds of weights", columns, tuple(rows))


def sentences(record: Record) -> list[str]:
    """What else the record holds: float64 against the reference, and float16's zeros and infinities."""
    exact = [run["reference"] for run in record.runs if run.get("reference")]
    largest = max(value for row in exact for values in row.values() for value in values)
    half = [run for run in record.runs if run["format"].startswith("float16")]
    infinite = sum(sum(run["infinite"]) for run in half)
    found = [
        f"The float64 networks differ from the reference by at most {number(largest)} (outputs of blocks, logits, and "
        f"gradients of parameters; first seed, {len(exact)} networks)."
    ]
    for name, words in (("float16, loss not scaled", "without scaling"), ("float16", f"with {record.loss_scale:g}")):
        zeros = [part for variant in VARIANTS for run in record.rows(variant, "random", name) for part in run["zero"]]
        found.append(f"Float16, loss {words}: at most {100 * max(zeros):.2g} % of a block's gradients became zero.")
    return [*found, f"Gradients that became infinite or NaN in float16: {infinite}."]


def depth_page(record: Record) -> str:
    """The tables, the sentences and the machine, for the page."""
    machine = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    tables = [by_format(record), by_depth(record), by_weights(record)]
    return page(tables, sentences(record), f"{record.date}; {machine}.")


def number(value: float) -> str:
    """A number in scientific notation, with two digits.

    >>> number(2**-24), number(0.1)
    ('6.0e-8', '1.0e-1')
    """
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def interval(values: Iterable[float], form: str | None = None) -> str:
    """The smallest and the largest value.

    >>> interval([0.5, 0.25], "{:.1f}")
    '0.2 to 0.5'
    """
    low, high = min(values := list(values)), max(values)
    ends = [form.format(end) if form else number(end) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
