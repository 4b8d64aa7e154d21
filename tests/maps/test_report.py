"""The report of `hatnet demo` is one valid page that stands alone, says what was found, and draws it where it is."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hatnet import create_model
from hatnet.config import Stage
from hatnet.data.photo import load_photo, normalise
from hatnet.equivalence import compare_traces, randomise, run_model, run_reference
from hatnet.maps.report import CAT, write_report
from hatnet.maps.report.colour import colour
from hatnet.maps.report.page import PAPER
from hatnet.maps.report.query import Box, read_query

SLIM = {"channels": (8, 16, 40, 64), "head_dim": 8, "num_classes": 10}  # Tiny's stages and heads, of fewer channels
PLAIN = {
    "channels": (64,),
    "depths": (2,),
    "kernel_sizes": (3,),
    "expansions": (2,),
    "grid_sizes": (),
    "pool_sizes": (),
}
CASES: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "tiny": ("tiny", (224, 224), SLIM),
    "nothing divides": ("tiny", (75, 101), SLIM),
    "micro": ("micro", (28, 37), {}),
    "one plain stage": ("micro", (28, 37), PLAIN),
}


@cache
def inputs(case: str) -> dict[str, Any]:
    """What `hatnet demo` hands to the report."""
    name, (height, width), overrides = CASES[case]
    model = create_model(name, **overrides).double()
    randomise(model)
    photo = load_photo(size=max(height, width))[:, :height, :width]
    trace = run_reference(model, normalise(photo))
    parts = {"stem": model.stem, **{f"stages.{i}": stage for i, stage in enumerate(model.stages)}}
    parts["classifier"] = model.classifier
    return {
        "photo": photo,
        "config": model.config,
        "agreements": list(compare_traces(run_model(model, torch.from_numpy(normalise(photo))[None]), [trace])),
        "trace": trace,
        "parameters": {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()},
        "facts": {"seed": "0", "photo": "a cat, CC0"},
        "tolerance": 1e-13,
        "weights": "The weights are random.",
    }


class Page(HTMLParser):
    """A page whose elements are known to be closed in the right order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {tag} {names}"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def count(self, name: str) -> int:
        """How many elements have this class."""
        return sum(name in (attributes.get("class") or "").split() for _, attributes in self.elements)


def report(folder: Path, case: str = "micro", **changed: Any) -> Page:
    path = folder / "report.html"
    write_report(path, **{**inputs(case), **changed})
    return Page(path.read_text(encoding="utf-8"))


def with_error(error: float, index: int) -> list[Any]:
    agreements = list(inputs("micro")["agreements"])
    agreements[index] = dataclasses.replace(agreements[index], error=error)
    return agreements


@pytest.mark.parametrize("case", CASES)
def test_the_page_stands_alone(tmp_path: Path, case: str) -> None:
    """No script, nothing loaded from outside, every id once, every `use` has its image; small enough to send.

    The one address in it is a link to the paper.
    """
    page = report(tmp_path, case)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == [PAPER]
    targets = [
        value
        for tag, attributes in page.elements
        for key, value in attributes.items()
        if key in {"href", "src"} and tag != "a"
    ]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert sorted(ids, key=str) == ["grey", "photo"]
    assert {str(target).split(",")[0] for target in targets} == {"#photo", "#grey", "data:image/jpeg;base64"}
    assert not [
        word for word in ("http://", "https://", "url(", "@import", "//cdn") if word in page.html.replace(PAPER, "")
    ]
    assert len(page.html.encode()) < 1.5e6


@pytest.mark.parametrize("case", CASES)
def test_every_stage_has_its_pictures(tmp_path: Path, case: str) -> None:
    """Three a query where there are windows, one where attention is plain; each head, if several; all described."""
    page, stages = report(tmp_path, case), inputs(case)["config"].stages
    assert page.count("panel") == len(CAT) * sum(3 if stage.grid_size else 1 for stage in stages)
    several = [stage for stage in stages if stage.heads > 1]
    assert page.count("head") == len(CAT) * sum(stage.heads * (2 if stage.grid_size else 1) for stage in several)
    assert all(attributes.get("aria-label") for _, attributes in page.elements if attributes.get("role") == "img")
    assert "nan" not in page.text


def test_the_result_comes_first(tmp_path: Path) -> None:
    """How many agree, the largest difference, where, before anything else; each intermediate is in the chart."""
    agreements = inputs("micro")["agreements"]
    worst = max(agreements, key=lambda agreement: agreement.error)
    page = report(tmp_path)
    sentence = f"{len(agreements)} intermediates agree; the largest relative difference is {worst.error:.1e}, at "
    assert f"Two implementations, one network{sentence}{worst.name}. The tolerance is 1e-13." in page.text
    assert page.count("good") == 1
    assert page.count("bad") == page.count("exceeding") - 1 == 0  # the key's
    assert page.count("output") + page.count("step") - 2 == len(agreements)
    assert all(agreement.name in page.text for agreement in agreements)


@pytest.mark.parametrize("error", [2e-13, 3e-4, float("inf"), float("nan")])
@pytest.mark.parametrize("index", [0, 6, -1])
def test_a_difference_is_red_and_has_a_place(tmp_path: Path, error: float, index: int) -> None:
    """Too large or not a number: the verdict says so and names the intermediate, the chart and the tables mark it."""
    agreements = with_error(error, index)
    page = report(tmp_path, agreements=agreements)
    assert f"1 of {len(agreements)} intermediates do not agree" in page.text
    assert f"is {agreements[index].name} with {error:.1e}" in page.text
    assert page.count("good") == 0
    assert page.count("exceeding") == 2
    assert page.count("bad") > 1


def test_equal_to_the_last_bit_is_shown(tmp_path: Path) -> None:
    """A difference of 0 has a line of its own, as a logarithmic axis has none."""
    assert "equal0" not in report(tmp_path).text
    agreements = [dataclasses.replace(agreement, error=0.0) for agreement in inputs("micro")["agreements"]]
    assert "largest relative difference is 0, at stem" in report(tmp_path, agreements=agreements).text


def test_text_is_escaped(tmp_path: Path) -> None:
    """Whatever facts, names and sentences hold is text."""
    rude = '<script>alert("1 & 2")</script>'
    config = dataclasses.replace(inputs("micro")["config"], name=rude)
    page = report(tmp_path, config=config, facts={rude: rude}, weights=rude, queries={rude: (0.5, 0.5)})
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(rude) >= 6  # the title, the name, the query, the fact and its value, the weights


def test_what_the_caller_says_is_there(tmp_path: Path) -> None:
    """Facts, weights, sizes and their sum."""
    page, given = report(tmp_path), inputs("micro")
    assert "seed0" in page.text
    assert "a cat, CC0" in page.text
    assert "The weights are random." in page.text
    for count in (*given["parameters"].values(), sum(given["parameters"].values())):
        assert f"{count:,}" in page.text


def test_an_old_report_outlives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while writing leaves what was there, and no half report beside it."""
    path = tmp_path / "report.html"
    path.write_text("old")

    def full_disk(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="no space left"):
            report(tmp_path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    report(tmp_path)
    assert path.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_compared_is_no_agreement(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no intermediate was compared"):
        report(tmp_path, agreements=[])
    with pytest.raises(ValueError, match=r"'tail' at .* lies outside the photo"):
        report(tmp_path, queries={"tail": (1.2, 0.5)})
    assert not list(tmp_path.iterdir())


def test_weights_that_are_nan_do_not_stop_the_report(tmp_path: Path) -> None:
    """It is needed most when something is wrong."""
    trace = {name: np.full_like(value, np.nan) for name, value in inputs("micro")["trace"].items()}
    assert report(tmp_path, trace=trace).count("panel") == 3 * (3 + 3 + 1)


STAGE = Stage(6, depth=1, heads=2, kernel_size=3, expansion=4, grid_size=3, pool_size=2, stride=4)


@pytest.mark.parametrize("size", [(6, 6), (4, 5), (2, 7)])
def test_weights_are_drawn_where_they_belong(size: tuple[int, int]) -> None:
    """A token that attends to itself alone lights its own cell, and the merged cell it lies in, also at the border."""
    H, W = size
    g, h = min(3, H), min(3, W)
    local = np.broadcast_to(np.eye(g * h), (-(-H // g), -(-W // h), 2, g * h, g * h))
    merged = -(-H // 2), -(-W // 2)
    far = np.zeros((2, H, W, *merged))
    for row, column in np.ndindex(size):
        far[:, row, column, row // 2, column // 2] = 1
    trace = {
        "stages.0.blocks.0.attention.local_weights": local,
        "stages.0.blocks.0.attention.merged": np.zeros((*merged, 6)),
        "stages.0.blocks.0.attention.global_weights": far.reshape(2, H * W, -1),
    }
    for row, column in np.ndindex(size):
        query = read_query("here", (row, column), STAGE, size, trace, "stages.0.blocks.0")
        own = Box(row * 4, column * 4, 4, 4)
        assert query.token == own
        assert query.local is not None
        assert query.local.mean.sum() == query.far.mean.sum() == 1
        assert query.local.cell(*np.argwhere(query.local.mean)[0]) == own
        assert query.far.cell(*np.argwhere(query.far.mean)[0]).within(own) == own
        top, left = row // g * g, column // h * h
        assert query.local.area == Box(top * 4, left * 4, g * 4, h * 4)
        assert query.local.heads.shape == (2, min(g, H - top), min(h, W - left))  # no cell beyond the border


def test_plain_attention_is_drawn_where_it_belongs() -> None:
    """The same without windows: a token that attends to itself alone lights its own cell."""
    stage = dataclasses.replace(STAGE, grid_size=None, pool_size=None)
    trace = {"stages.0.blocks.0.attention.weights": np.broadcast_to(np.eye(20), (2, 20, 20))}
    for row, column in np.ndindex(4, 5):
        query = read_query("here", (row, column), stage, (4, 5), trace, "stages.0.blocks.0")
        assert query.local is None
        assert query.far.cell(*np.argwhere(query.far.mean)[0]) == query.token


def test_colours_are_ordered_by_lightness() -> None:
    """So they are still ordered in grey print and for colour-blind readers."""
    shades = [int(colour(share)[1:], 16) for share in np.linspace(0, 1, 101)]
    lightness = [0.2126 * (shade >> 16) + 0.7152 * (shade >> 8 & 255) + 0.0722 * (shade & 255) for shade in shades]
    assert lightness == sorted(lightness)
