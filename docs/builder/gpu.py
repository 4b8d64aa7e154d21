"""`@gpu`: the records that `python -m tests.on_gpu` keeps in docs/measurements/gpu, as tables and figures."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder import precision, precision_tables
from hatnet.files import read_json
from hatnet.studies import ablation, bench, scaling
from hatnet.studies.ablation import tables as ablation_tables
from hatnet.studies.bench import tables as bench_tables
from hatnet.studies.common.table import Grid, fold
from hatnet.studies.scaling import tables as scaling_tables

FOLDER = "measurements/gpu"  # in the folder of the pages
NOTHING = "**No piece of this command has been completed on a GPU yet.** Results appear here as soon as there are any."
STATES = {"done": "done", "failed": "failed", "cut off": "not finished", "started": "not finished"}
HIDDEN = {"system", "cores", "commit"}  # facts of a machine that the page does not show


def gpu(docs: Path) -> list[str]:
    """A table of all pieces, the last lines of those that failed, and one section per result.

    `docs` is the folder of the pages. Raises ValueError for a file that is not a record.
    """
    path = docs / FOLDER / "on-gpu.json"
    if not path.is_file():
        return [NOTHING]
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != "tests.on_gpu":
        raise ValueError(f"{path} is not a record of tests.on_gpu")
    pieces: dict[str, dict[str, Any]] = record["pieces"]
    lines = [_table(pieces), *_machines(pieces), *_failures(pieces)]
    for name, piece in pieces.items():
        if piece["status"] == "done" and (text := _section(docs / FOLDER, name)):
            lines += [f"### {name} {{ #{name} }}", "", *_figures(docs / FOLDER, name), text]
    return lines


def _table(pieces: dict[str, dict[str, Any]]) -> str:
    rows = [
        (name, STATES[piece["status"]], piece["started"][:10], f"{piece['seconds'] / 60:.1f}", piece["result"])
        for name, piece in pieces.items()
    ]
    return Grid("Pieces", ("piece", "state", "date", "minutes", "result"), tuple(rows)).markdown()


def _machines(pieces: dict[str, dict[str, Any]]) -> list[str]:
    """The machines, each named once."""
    found = {", ".join(f"{key} {value}" for key, value in piece["machine"].items() if key not in HIDDEN): None
             for piece in pieces.values()}  # fmt: skip
    return [f"<small>{'; '.join(found)}.</small>", ""]


def _failures(pieces: dict[str, dict[str, Any]]) -> list[str]:
    return [
        fold(f"{name} failed: {piece['result']}", "\n".join(["```text", *piece["log"], "```"])) + "\n"
        for name, piece in pieces.items()
        if piece["status"] == "failed"
    ]


def _figures(folder: Path, name: str) -> list[str]:
    """The figures of a piece. A benchmark may have a second one, its rooflines."""
    files = [file for file in (f"{name}.svg", f"{name}-roofline.svg") if (folder / file).is_file()]
    return [line for file in files for line in (f"![Figure of {name}.]({FOLDER}/{file})", "")]


def _section(folder: Path, name: str) -> str:
    """The result of one piece as Markdown; an empty text if the table says it all."""
    makers: dict[str, Callable[[Path], str]] = {
        "precision": lambda path: _precision(path),
        "bench": lambda path: bench_tables.page(bench.read(path)),
        "scaling": lambda path: scaling_tables.page(scaling.read(path)),
        "ablation": lambda path: ablation_tables.page(ablation.read(path)),
        "fashion": lambda _: _fashion(folder / "fashion-seeds.json"),
    }
    make = makers.get(name.partition("-")[0])
    return "" if make is None else make(folder / f"{name}.json")


def _precision(path: Path) -> str:
    """Distances from the reference, and errors by format if all variants were measured."""
    record = precision.read(path)
    tables = [precision_tables.limits(record)]
    if {run["variant"] for run in record.runs} >= set(precision.VARIANTS):
        tables += [precision_tables.by_format(record), precision_tables.by_depth(record)]
    return "\n\n".join(table.markdown() for table in tables)


def _fashion(path: Path) -> str:
    """Accuracy of each seed, their mean and their spread."""
    facts = read_json(path)
    accuracies = facts["metrics"]["accuracy"]
    rows = [(f"seed {seed}", f"{100 * value:.2f} %") for seed, value in zip(facts["seeds"], accuracies, strict=True)]
    rows += [("mean", f"{100 * statistics.fmean(accuracies):.2f} %")]
    rows += [("spread (n - 1)", f"{100 * statistics.stdev(accuracies):.2f} points")]
    return Grid("Test accuracy after the last epoch", ("", "accuracy"), tuple(rows)).markdown()
