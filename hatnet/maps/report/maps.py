"""Attention over the photo: what a token takes from its window, and from the merged tokens of the whole map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hatnet.config import HATNetConfig, Stage
from hatnet.maps.report.colour import scale
from hatnet.maps.report.markup import Markup, element, times
from hatnet.maps.report.picture import backdrop, cells, outline, picture, pin, veil
from hatnet.maps.report.query import Array, Box, Query, Weights, read_query, token_at

Positions = Mapping[str, tuple[float, float]]  # name -> (x, y) in fractions of the photo


def attention_section(
    config: HATNetConfig, trace: Mapping[str, Array], photo: Box, positions: Positions
) -> list[Markup]:
    """The last block of every stage, each with all queries."""
    layouts = config.layout(photo.height, photo.width)
    drawn = []
    for index, (stage, layout) in enumerate(zip(config.stages, layouts, strict=True)):
        last = f"stages.{index}.blocks.{stage.depth - 1}"
        queries = [
            read_query(name, token_at(position, layout.map, stage.stride, photo), stage, layout.map, trace, last)
            for name, position in positions.items()
        ]
        figures = [_query_figure(number, query, photo) for number, query in enumerate(queries, start=1)]
        drawn.append(
            element(
                "section",
                element("h3", f"Stage {index}", element("small", f"block {stage.depth - 1}, its last")),
                element("p", _stage_words(stage, layout.map, layout.merged)),
                element("div", figures, class_=None if stage.grid_size else "plain"),
            )
        )
    return drawn


def query_picture(positions: Positions, photo: Box) -> Markup:
    """The photo, with the positions of the queries as numbered marks."""
    radius = 0.04 * max(photo.height, photo.width)
    pins = [
        pin(number, x * photo.width, y * photo.height, radius)
        for number, (x, y) in enumerate(positions.values(), start=1)
    ]
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(positions, start=1))
    return picture(photo, f"The photo, with the queries as numbered marks: {listed}.", backdrop("photo", photo), *pins)


def _stage_words(stage: Stage, size: tuple[int, int], merged: tuple[int, int] | None) -> str:
    heads = f"{stage.heads} head{'s' if stage.heads > 1 else ''}"
    tokens = f"A map of {times(*size)} tokens, each {times(stage.stride, stage.stride)} pixels, with {heads}."
    if merged is None or stage.grid_size is None or stage.pool_size is None:
        return f"{tokens} No windows here: every token attends to every other (Eq. 1-3)."
    G1, G2 = stage.grid_size, stage.pool_size
    return (
        f"{tokens} Local attention stays within windows of G1 = {G1}, so {times(G1, G1)} tokens (Eq. 6-8); global "
        f"attention goes to {times(*merged)} merged tokens, each the mean of G2 = {G2}, so {times(G2, G2)} tokens "
        "(Eq. 10-13)."
    )


def _query_figure(number: int, query: Query, photo: Box) -> Markup:
    heads = len(query.far.heads)
    return element(
        "article",
        element(
            "div",
            element("h4", element("span", str(number), class_="number"), query.name.capitalize()),
            element("p", _query_words(query)),
            class_="words",
        ),
        _panels(query, photo),
        element("details", element("summary", f"The {heads} heads one by one"), _head_rows(query, photo))
        if heads > 1
        else [],
        class_="query",
    )


def _query_words(query: Query) -> list[str | Markup]:
    words: list[str | Markup] = [f"Token ({query.row}, {query.column})"]
    if query.local is not None:
        _, rows, columns = query.local.heads.shape
        partial = (
            query.local.area.height > rows * query.token.height or query.local.area.width > columns * query.token.width
        )
        words += [element("br"), f"Window of {times(rows, columns)}", ", cut by the border" if partial else ""]
    return words


def _panels(query: Query, photo: Box) -> list[Markup]:
    """The mean of the heads: the window in its place, the window enlarged, and the whole map."""
    far, token = query.far.mean, outline(query.token.within(photo), "token")
    drawing = [backdrop("grey", photo), cells(query.far, far, float(far.max()))]
    if query.local is None:
        label = f"Attention of the token at the {query.name} to all tokens: {_describe(far)}"
        return [_panel("All tokens", picture(photo, label, *drawing, token), scale_bar(far))]
    window = query.local.area.within(photo)
    label = f"Global attention of the token at the {query.name} to all merged tokens: {_describe(far)}"
    whole = picture(photo, label, *drawing, outline(window, "window"), token)

    near = query.local.mean
    coloured = [backdrop("grey", window), cells(query.local, near, float(near.max()))]
    label = f"Local attention of the token at the {query.name} to its window: {_describe(near)}"
    place = [backdrop("photo", photo), veil(photo, window), *coloured, outline(window, "window"), token]
    enlarged = picture(query.local.area, label, *coloured, outline(query.token, "token"))
    return [
        _panel("Local, in its place", picture(photo, f"The window of the {query.name} in the photo.", *place)),
        _panel("Local, enlarged", enlarged, scale_bar(near)),
        _panel("Global", whole, scale_bar(far)),
    ]


def _head_rows(query: Query, photo: Box) -> list[Markup]:
    if query.local is None:
        return [_head_row("All tokens", query.far, photo, photo, query)]
    return [
        _head_row("Local, enlarged", query.local, query.local.area, photo, query),
        _head_row("Global", query.far, photo, photo, query),
    ]


def _head_row(caption: str, weights: Weights, view: Box, photo: Box, query: Query) -> Markup:
    """Every head on its own, small, all on one scale."""
    token, largest = outline(query.token.within(view), "token"), float(weights.heads.max())
    figures = []
    for head, values in enumerate(weights.heads):
        drawing = [backdrop("grey", view.within(photo)), cells(weights, values, largest, titles=False), token]
        label = f"{caption}, head {head}, token at the {query.name}: {_describe(values)}"
        shown = picture(view, label, *drawing)
        figures.append(element("figure", shown, element("figcaption", f"head {head}"), class_="head"))
    return element("div", element("h5", caption), element("div", figures, class_="heads"), scale_bar(weights.heads))


def _panel(caption: str, drawing: Markup, bar: Markup | None = None) -> Markup:
    return element("figure", drawing, element("figcaption", caption, [] if bar is None else bar), class_="panel")


def scale_bar(weights: Array) -> Markup:
    """The colours from 0 to the largest of some weights (..., rows, columns), with a tick where all would be equal."""
    largest, even = float(weights.max()), 1 / (weights.shape[-2] * weights.shape[-1])
    return element(
        "span",
        element(
            "span",
            element("i", style=f"left:{100 * even / largest:.1f}%"),
            class_="ramp",
            style=f"background:{scale()}",
        ),
        element(
            "span",
            element("span", "0"),
            element(
                "span",
                element("span", "equal "),
                f"{even:#.2g}",
                class_="even",
                style=f"left:{np.clip(100 * even / largest, 27, 66):.1f}%",
            ),
            element("span", f"{largest:#.2g}"),
            class_="numbers",
        ),
        class_="bar",
    )


def _describe(weights: Array) -> str:
    row, column = np.unravel_index(int(weights.argmax()), weights.shape)
    return (
        f"{times(*weights.shape)} weights, the largest {weights.max():.2g} at row {row}, column {column}; "
        f"equal ones would be {1 / weights.size:.2g}."
    )
