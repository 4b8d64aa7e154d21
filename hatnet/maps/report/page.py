"""The page: result, agreement, attention over the photo, sizes, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.equivalence import Agreement
from hatnet.files import write_whole
from hatnet.maps.report.chart import agreement_chart, exceeds, severity
from hatnet.maps.report.maps import Positions, attention_section, query_picture
from hatnet.maps.report.markup import Markup, element, join, scientific, scroll, times
from hatnet.maps.report.picture import photo_definitions
from hatnet.maps.report.query import Box
from hatnet.maps.report.tables import agreement_tables, facts_list, sizes_table

CAT: Positions = {"eye": (0.32, 0.37), "ear": (0.93, 0.13), "background": (0.95, 0.72)}  # of the bundled photo
PAPER = "https://doi.org/10.1007/s11633-024-1393-8"
WHAT_IT_IS = (
    "In HAT-Net every token of an image attends to its neighbours one by one, within a window, and to the whole image "
    "in a few merged tokens: hierarchical attention, from the paper "
)
WHAT_RAN = (
    "The network is written twice: in NumPy from the equations of the paper, to read, and in PyTorch, to use. Both got "
    "this photo and the same weights."
)
MEASURE = (
    "For each intermediate, in the order of computation: the largest absolute difference between PyTorch and the NumPy "
    "reference, divided by the largest absolute value of the reference. Stages count from 0, as in the code; the paper "
    "counts the stem as stage 1, so its numbers are larger by two."
)
READING = (
    "One token asks, the square with a white line; it takes most from the bright cells. First its own window, in "
    "its place and enlarged (hatched where the map has ended); then the merged tokens of the whole map. Tokens are "
    "given as (row, column). Colours show the mean of the heads, from 0 to the largest weight of each map; the tick on "
    "a scale is where all weights would be equal."
)
STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the browser, too, refuses anything outside


def write_report(
    path: Path,
    *,
    photo: NDArray[np.float64],
    config: HATNetConfig,
    agreements: Sequence[Agreement],
    trace: Mapping[str, NDArray[np.float64]],
    parameters: Mapping[str, int],
    facts: Mapping[str, str],
    tolerance: float,
    weights: str,
    queries: Positions = CAT,
) -> None:
    """Write the report of one comparison as one HTML file, whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        photo: the image both implementations saw, (3, H, W) in [0, 1], before normalisation.
        config: of the network.
        agreements: what `hatnet.equivalence.compare` found, in order of computation.
        trace: the reference's, of the same image.
        parameters: how many there are in `stem`, in each `stages.N` and in `classifier`.
        facts: machine, versions, date and the like, shown in this order.
        tolerance: the largest relative difference that counts as agreement.
        weights: a sentence that says what weights the network has.
        queries: the positions whose attention is drawn, name -> (x, y) in fractions of the photo.

    Raises:
        ValueError: if nothing was compared, or a query lies outside the photo.
    """
    if not agreements:
        raise ValueError("there is nothing to report: no intermediate was compared")
    for name, (x, y) in queries.items():
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(f"query {name!r} at {(x, y)} lies outside the photo: give fractions from 0 to 1")
    frame = Box(0, 0, photo.shape[1], photo.shape[2])
    body = [
        photo_definitions(photo),
        _header(config, agreements, tolerance, query_picture(queries, frame), queries),
        _section(
            "Agreement",
            element("p", MEASURE),
            scroll("Chart of the agreement", agreement_chart(agreements, tolerance)),
            _chart_key(),
            *agreement_tables(agreements, tolerance),
        ),
        _section(
            "Attention over the photo",
            element("p", weights, class_="notice"),
            element("p", READING),
            *attention_section(config, trace, frame, queries),
        ),
        _section(
            "Sizes",
            element("p", f"What an image of {times(frame.height, frame.width)} pixels becomes, stage by stage."),
            sizes_table(config, parameters, frame.height, frame.width),
        ),
        _section("Facts", facts_list({**facts, "weights": weights})),
    ]
    write_whole(path, _page(f"{_title(config)}: two implementations, one network", body).encode())


def _title(config: HATNetConfig) -> str:
    return f"HAT-Net {config.name.capitalize()}"


def _verdict(agreements: Sequence[Agreement], tolerance: float) -> Markup:
    """One sentence, green where all agree; where they do not, red and with the place where it starts."""
    beyond = [agreement for agreement in agreements if exceeds(agreement, tolerance)]
    worst = max(agreements, key=severity)
    largest = [
        "the largest relative difference is ",
        _unbroken(scientific(worst.error)),
        ", at ",
        element("code", worst.name),
        ". ",
    ]
    limit = _unbroken(f"{tolerance:g}")
    if not beyond:
        agree = element("strong", f"{len(agreements)} intermediates agree")
        return element("p", agree, "; ", largest, "The tolerance is ", limit, ".", class_="verdict good")
    return element(
        "p",
        element("strong", f"{len(beyond)} of {len(agreements)} intermediates do not agree"),
        " to the tolerance of ", limit, ". The first, in the order of computation, is ",
        element("code", beyond[0].name), " with ", _unbroken(scientific(beyond[0].error)), "; ", largest,
        class_="verdict bad",
        role="alert",
    )  # fmt: skip


def _unbroken(number: str) -> Markup:
    """A number that stays on one line, whatever its minus allows."""
    return element("span", number, class_="unbroken")


def _header(
    config: HATNetConfig, agreements: Sequence[Agreement], tolerance: float, picture: Markup, queries: Positions
) -> Markup:
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(queries, start=1))
    return element(
        "header",
        element(
            "div",
            element("p", _title(config), class_="kicker"),
            element("h1", "Two implementations, one network"),
            _verdict(agreements, tolerance),
            element("p", WHAT_RAN),
            element("p", WHAT_IT_IS, element("a", "Vision Transformers with Hierarchical Attention", href=PAPER), "."),
        ),
        element("figure", picture, element("figcaption", f"The photo and the queries below: {listed}")),
    )


def _chart_key() -> Markup:
    entries = {
        "output": "output of a block, stem, logits",
        "step": "step within a block",
        "exceeding": "over the tolerance",
    }
    return element(
        "p",
        (element("span", element("i", class_=f"key {kind}"), text) for kind, text in entries.items()),
        class_="keys",
    )


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _page(title: str, body: list[Markup]) -> str:
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    ]
    return join(
        Markup("<!doctype html>\n"),
        element("html", element("head", head), element("body", element("main", body)), lang="en"),
    )
