"""The report of `hatnet demo` is one valid page that stands alone: verdict, tables, maps, sizes and facts."""

import base64
import dataclasses
import hashlib
import os
from functools import cache
from html.parser import HTMLParser
from unittest import mock

import numpy as np
import pytest
import torch

from hatnet import create_model
from hatnet.complexity.summary import summarise
from hatnet.data.photo import normalise
from hatnet.equivalence import by_block, compare, worst
from hatnet.maps import attention_maps
from hatnet.maps.explorer import Start, explorer_script, write_explorer
from hatnet.maps.report import PAPER, write_report
from tests.maps.small import PLAIN_NETWORK, embedded, photo_of, random_model, seen

SLIM = {"channels": (8, 16, 40, 64), "head_dim": 8, "num_classes": 10}  # the stages and heads of Tiny, fewer channels
CASES = {
    "tiny": ("tiny", (224, 224), SLIM),
    "nothing divides": ("tiny", (75, 101), SLIM),
    "micro": ("micro", (28, 37), {}),
    "one plain stage": ("micro", (12, 15), PLAIN_NETWORK),
}
VOID = {"meta", "br", "img"}


@cache
def inputs(case):
    name, size, overrides = CASES[case]
    model, photo = random_model(name, **overrides), photo_of(*size)
    return {
        "model": model,
        "photo": photo,
        "normalise": normalise,
        "agreements": compare(model, torch.from_numpy(normalise(photo))[None]),
        "tolerance": 1e-13,
        "facts": {"seed": "0", "photo": "a cat, CC0"},
        "weights": "The weights are random.",
        "start": Start(query=(3, 4), kind="composed"),
    }


class Page(HTMLParser):
    """A page whose elements are closed in the right order, with no attribute twice."""

    def __init__(self, html):
        super().__init__()
        self.html, self.elements, self.text, self.open = html, [], "", []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {tag} {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def count(self, name):
        return sum(name in (attributes.get("class") or "").split() for _, attributes in self.elements)


def report(folder, case="micro", **changed):
    path = folder / "report.html"
    write_report(path, **{**inputs(case), **changed})
    return Page(path.read_text(encoding="utf-8"))


def with_error(error, index):
    agreements = list(inputs("micro")["agreements"])
    agreements[index] = dataclasses.replace(agreements[index], error=error)
    return agreements


@pytest.mark.parametrize("case", CASES)
def test_the_page_stands_alone(tmp_path, case):
    """The only address is a link to the paper, and the policy allows one script by its hash."""
    page = report(tmp_path, case)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert [attributes["href"] for tag, attributes in page.elements if tag == "a"] == [PAPER]
    scripts = [attributes["type"] for tag, attributes in page.elements if tag == "script"]
    assert scripts == ["module", "application/gzip;base64"]
    digest = base64.b64encode(hashlib.sha256(explorer_script().encode()).digest()).decode()
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    rest = page.html.replace(PAPER, "").replace("new URL(", "").lower()  # a class of JavaScript, which requests nothing
    assert not [word for word in ("http://", "https://", "url(", "@import", "//cdn") if word in rest]
    assert "nan" not in page.text.split()
    assert len(page.html.encode()) < 4e6


@pytest.mark.parametrize("case", CASES)
def test_the_explorer_of_the_page_holds_the_maps_of_the_photo(tmp_path, case):
    page, given = report(tmp_path, case), inputs(case)
    _, header, (arrays,) = embedded(page.html)
    assert header["provenance"] == "The weights are random."
    assert (header["start"]["query"], header["start"]["kind"]) == ([3, 4], "composed")
    maps = attention_maps(given["model"], torch.from_numpy(normalise(given["photo"])))
    blocks = {name.rpartition(".")[0] for name in arrays if name.startswith("stages")}
    assert len(blocks) == sum(given["model"].config.depths)
    np.testing.assert_allclose(arrays["rollout"], maps.rollout(), rtol=2**-10, atol=2**-20)


def test_the_verdict_comes_first(tmp_path):
    agreements = inputs("micro")["agreements"]
    worst = max(agreements, key=lambda agreement: agreement.error)
    page = report(tmp_path)
    verdict = f"{len(agreements)} intermediates agree. The largest relative difference is {worst.error:.1e}, at "
    start = page.text.partition(verdict)[0]
    assert f"{verdict}{worst.name}. The limit is 1e-13." in page.text
    assert start.endswith("two implementations, one network ")
    assert "Agreement" not in start
    assert (page.count("good"), page.count("bad")) == (1, 0)
    assert all(agreement.name in page.text for agreement in agreements)
    zero = [dataclasses.replace(agreement, error=0.0) for agreement in agreements]
    assert "The largest relative difference is 0, at stem" in report(tmp_path, agreements=zero).text


@pytest.mark.parametrize("error", [2e-13, 3e-4, float("inf"), float("nan")])
@pytest.mark.parametrize("index", [0, 6, -1])
def test_a_difference_is_red_and_has_a_place(tmp_path, error, index):
    agreements = with_error(error, index)
    page = report(tmp_path, agreements=agreements)
    assert f"1 of {len(agreements)} intermediates do not agree within the limit of 1e-13" in page.text
    assert f"is {agreements[index].name} with {error:.1e}" in page.text
    assert page.text.count(f"{error:.1e}, over the limit") == 2
    assert (page.count("good"), page.count("bad")) == (0, 3)
    assert [attributes["role"] for _, attributes in page.elements if attributes.get("role") == "alert"]


def test_the_short_table_has_the_worst_intermediate_of_every_block():
    """NaN is the worst; outside blocks each intermediate has its own row."""
    agreements = with_error(float("nan"), 6)
    config = inputs("micro")["model"].config
    rows = [(place, worst(members)) for place, members in by_block(agreements)]
    places = [(place.stage, place.block) for place, _ in rows]
    blocks = [(s, b) for s, depth in enumerate(config.depths) for b in range(depth)]
    assert [place for place in places if place[1] is not None] == blocks
    outside = [str(place) for place, _ in rows if place.block is None]
    assert outside == ["stem", "stages.1.downsampled", "stages.2.downsampled", "logits"]
    assert agreements[6] in [most for _, most in rows]
    for place, most in rows:
        members = [each for each in agreements if each.name.startswith(f"{place}")]
        assert most in members
        assert all(each.error <= most.error or np.isnan(most.error) for each in members)


def test_text_is_escaped(tmp_path):
    rude = '<script>alert("1 & 2")</script>'
    model = create_model("micro", num_classes=3).double()
    model.config = dataclasses.replace(model.config, name=rude)
    page = report(tmp_path, model=model, facts={rude: rude}, weights=rude, name=rude)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert page.text.count(rude) >= 4  # the fact and its value, the weights, twice
    assert page.text.lower().count(rude.lower()) >= 6  # the title and the heading


def test_every_table_has_a_name_and_scrolls_by_keyboard(tmp_path):
    page = report(tmp_path)
    boxes = [attributes for _, attributes in page.elements if attributes.pop("class", None) == "scroll"]
    names = ["Worst intermediate by block", "All intermediates", "Sizes"]
    assert boxes == [{"tabindex": "0", "role": "region", "aria-label": name} for name in names]
    assert all(attributes["scope"] == "col" for tag, attributes in page.elements if tag == "th")
    tags = " ".join(tag for tag, _ in page.elements if tag in ("table", "thead", "tr", "th", "td"))
    for table in tags.split("table")[1:]:
        widths = [len(row.split()) for row in table.split("tr")[1:]]
        assert widths == [widths[0]] * len(widths)  # every row has a cell in every column


def test_facts_weights_and_sizes_are_on_the_page(tmp_path):
    page, given = report(tmp_path), inputs("micro")
    assert "The maps are drawn by JavaScript, which is switched off here. They show, for each of 6 blocks" in page.text
    assert "seed0 photoa cat, CC0 weightsThe weights are random." in page.text
    parameters = [row.parameters for row in summarise(given["model"].config)]
    assert sum(parameters) == sum(parameter.numel() for parameter in given["model"].parameters())
    for count in (*parameters, sum(parameters)):
        assert f"{count:,}" in page.text


def explorer(folder):
    model, pictures = seen("micro")
    write_explorer(folder / "report.html", pictures, config=model.config, provenance="Random.")


@pytest.mark.parametrize("write", [report, explorer])
def test_an_old_page_survives_a_failed_write(tmp_path, write):
    path = tmp_path / "report.html"
    path.write_text("old")
    full_disk = mock.Mock(side_effect=OSError("no space left on device"))
    with mock.patch.object(os, "fsync", full_disk), pytest.raises(OSError, match="no space left"):
        write(tmp_path)
    assert path.read_text() == "old"
    write(tmp_path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_without_any_comparison_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no intermediate was compared"):
        report(tmp_path, agreements=[])
    assert not list(tmp_path.iterdir())


def test_weights_that_are_nan_do_not_stop_the_report(tmp_path):
    model = create_model("micro").double()
    with torch.no_grad():
        next(model.stages[1].parameters()).fill_(torch.nan)
    page = report(tmp_path, model=model, agreements=with_error(float("nan"), 6))
    assert "The attention maps cannot be shown: stages.1" in page.text
    assert "intermediates do not agree" in page.text
    assert "attention-explorer" not in {tag for tag, _ in page.elements}
