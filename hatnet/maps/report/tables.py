"""The tables of the report: the agreement layer by layer, the sizes of the network, the facts of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hatnet.config import HATNetConfig
from hatnet.equivalence import Agreement
from hatnet.maps.report.chart import exceeds, is_output, severity
from hatnet.maps.report.markup import Markup, element, join, scientific, scroll, times

NONE = "\N{EN DASH}"
WHAT = {
    "stem": "output of the stem",
    "downsampled": "map after downsampling",
    "attention.local_weights": "local attention weights (Eq. 2, 7)",
    "attention.local": "A1, local attention + X, normalised (Eq. 8, 9)",
    "attention.merged": "merged tokens (Eq. 10)",
    "attention.global_weights": "global attention weights (Eq. 2, 12)",
    "attention.global": "A2, global attention (Eq. 13)",
    "attention.weights": "attention weights (Eq. 2)",
    "attended": "attention + X (Eq. 14, 3)",
    "output": "output",
    "logits": "logits",
}


def agreement_tables(agreements: Sequence[Agreement], tolerance: float) -> list[Markup]:
    """A row for each map that is handed on, and below it, folded, all intermediates."""
    short = [agreement for agreement in agreements if is_output(agreement) or agreement.name.endswith("downsampled")]
    head = ("Stage", "Block", "What", "Shape", "Relative difference", "Largest within the block")
    rows = [[*_cells(agreement, tolerance), _largest_within(agreement, agreements, tolerance)] for agreement in short]
    every = [
        [element("td", element("code", agreement.name)), *_cells(agreement, tolerance)[2:]] for agreement in agreements
    ]
    return [
        _table("Agreement, layer by layer", head, rows, class_="layers"),
        element(
            "details",
            element("summary", f"All {len(agreements)} intermediates"),
            _table("All intermediates", ("Name in the trace", "What", "Shape", "Relative difference"), every),
        ),
    ]


def sizes_table(config: HATNetConfig, parameters: Mapping[str, int], height: int, width: int) -> Markup:
    """What the network is made of, and what an image of this size becomes in it."""
    head = ("Stage", "Map", "C", "Heads", "G1", "G2", "Windows", "Merged tokens", "Blocks", "Parameters")
    rows = [_row("stem", *[""] * 8, _count(parameters["stem"]))]
    for index, (stage, layout) in enumerate(zip(config.stages, config.layout(height, width), strict=True)):
        counts = [times(*count) if count else NONE for count in (layout.windows, layout.merged)]
        rows.append(
            _row(
                str(index), times(*layout.map), str(stage.channels), str(stage.heads), str(stage.grid_size or NONE),
                str(stage.pool_size or NONE), *counts, str(stage.depth), _count(parameters[f"stages.{index}"]),
            )
        )  # fmt: skip
    rows.append(_row("classifier", *[""] * 8, _count(parameters["classifier"])))
    rows.append(_row("all", *[""] * 8, _count(sum(parameters.values()))))
    return _table("Sizes", head, rows, class_="sizes")


def facts_list(facts: Mapping[str, str]) -> Markup:
    """What a reader needs to judge the numbers, or to repeat the run."""
    return element("dl", (join(element("dt", name), element("dd", value)) for name, value in facts.items()))


def what(agreement: Agreement) -> str:
    """An intermediate in words."""
    return WHAT.get(agreement.place.name, agreement.place.name)


def _cells(agreement: Agreement, tolerance: float) -> list[Markup]:
    places = ("" if place is None else str(place) for place in (agreement.place.stage, agreement.place.block))
    return [
        *(element("td", place) for place in places),
        element("td", what(agreement)),
        element("td", times(*agreement.shape), class_="number"),
        _error(agreement, tolerance),
    ]


def _error(agreement: Agreement, tolerance: float, suffix: str = "") -> Markup:
    if exceeds(agreement, tolerance):
        return element(
            "td", element("strong", f"{scientific(agreement.error)} over the tolerance"), suffix, class_="number bad"
        )
    return element("td", scientific(agreement.error), suffix, class_="number")


def _largest_within(output: Agreement, agreements: Iterable[Agreement], tolerance: float) -> Markup:
    if output.place.block is None:
        return element("td")
    members = [
        other
        for other in agreements
        if (other.place.stage, other.place.block) == (output.place.stage, output.place.block)
    ]
    worst = max(members, key=severity)
    return _error(worst, tolerance, element("code", f" {worst.name.split('.', 4)[-1]}"))


def _count(number: int) -> str:
    return f"{number:,}"


def _row(*texts: str) -> list[Markup]:
    return [element("td", text, class_=None if column == 0 else "number") for column, text in enumerate(texts)]


def _table(label: str, head: Iterable[str], rows: Iterable[Iterable[Markup]], class_: str | None = None) -> Markup:
    """A table in a box of its own, which scrolls where the table is wider than the page."""
    drawn = element(
        "table",
        element("thead", element("tr", (element("th", title, scope="col") for title in head))),
        element("tbody", (element("tr", row) for row in rows)),
        class_=class_,
    )
    return scroll(label, drawn)
