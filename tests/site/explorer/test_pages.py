"""Whole pages with an explorer: from the disk, in light and dark, without JavaScript, with invalid data."""

import dataclasses

import numpy as np
import pytest
import torch

from hatnet.data.photo import load_photo, normalise
from hatnet.equivalence import compare
from hatnet.maps.explorer import ClassMap, picture_from_model, write_explorer
from hatnet.maps.report import write_report
from tests.maps.small import random_model
from tests.site.conftest import CONTRASTS, PHONE, patient_page
from tests.site.explorer.conftest import STICKING_OUT, query_of, text

pytestmark = pytest.mark.long


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_file_works_from_the_disk_in_light_and_dark(open_explorer, folder, scheme):
    """No server and no request; every text has a contrast of at least 4.5, as WCAG requires."""
    page = open_explorer((folder / "alone.html").as_uri(), color_scheme=scheme)
    assert query_of(page) == (8, 15)
    assert text(page, ".provenance") == "Random."
    assert "true class cat" in text(page, ".query figcaption")
    assert "times as many" in text(page, ".size")
    parts = [".provenance", "legend", ":checked + span", ".kinds small", "figcaption"]
    ratios = page.evaluate(CONTRASTS, [*parts, ".finding", ".size", ".even", ".line math"])
    assert min(ratios.values()) >= 4.5, ratios


def test_invalid_data_give_an_error_in_words(open_explorer):
    page = open_explorer("no.html")
    assert "these are not the data of an attention explorer" in text(page, ".state")


def test_names_are_text(open_explorer, folder, model, images):
    rude = '<img src=x onerror="document.title=1">'
    picture = picture_from_model(model, images[0], rude, classes=[rude] * 3, label=0)
    write_explorer(folder / "rude.html", [picture, picture], config=model.config, provenance=rude)
    page = open_explorer((folder / "rude.html").as_uri())
    assert text(page, ".provenance") == rude
    assert rude in text(page, ".query figcaption")
    assert page.locator("attention-explorer img").count() == 2  # those to choose from


def test_a_picture_may_lack_maps_of_the_whole_network(open_explorer, folder, model, images):
    """Such as the backbone of a dense model, which has no classes; a view that asks for one shows another kind."""
    picture = dataclasses.replace(picture_from_model(model, images[0], "bare"), rollout=None, class_maps=())
    write_explorer(folder / "bare.html", picture, config=model.config, provenance="Bare.")
    page = open_explorer((folder / "bare.html").as_uri() + "#explore?kind=rollout")
    for kind in ("rollout", "class"):
        assert page.locator(f"attention-explorer input[value={kind}]").is_disabled()
        assert "not here" in text(page, f".kinds .{kind}")
    assert page.locator("attention-explorer input[value=composed]").is_checked()
    assert "of the output at token" in text(page, ".finding")


def test_maps_of_objects_have_their_own_words(open_explorer, folder, model, images):
    maps = [ClassMap(name, np.full((16, 23), 0.1), "of the class cat", "object") for name in ("first", "second")]
    picture = dataclasses.replace(picture_from_model(model, images[0], "two"), rollout=None, class_maps=maps)
    write_explorer(folder / "objects.html", picture, config=model.config, provenance="Random.")
    page = open_explorer((folder / "objects.html").as_uri(), choices={"kind": "class", "class": 1})
    assert text(page, ".kinds label.class") == "Object for its class"
    assert text(page, ".choice.class") == "Object first second"
    assert text(page, ".meaning").startswith("What attention brings to the class of an object's pixels")
    assert text(page, ".map figcaption").startswith("For the object second:")
    assert "for the object second, of the class cat" in text(page, ".finding")
    assert "from every stage that the pyramid reads" in text(page, ".readout")


@pytest.fixture(scope="module")
def reports(folder):
    """The addresses of two reports of `hatnet demo`: one where all agrees, and one with a difference."""
    model, photo = random_model(), load_photo(size=40)
    agreements = compare(model, torch.from_numpy(normalise(photo))[None])
    worse = [*agreements[:6], dataclasses.replace(agreements[6], error=float("nan")), *agreements[7:]]
    facts = {"model": model, "photo": photo, "normalise": normalise, "tolerance": 1e-13, "facts": {"seed": "0"}}
    for name, found in (("agree", agreements), ("differ", worse)):
        write_report(folder / f"{name}.html", agreements=found, weights="Random.", **facts)
    return {name: (folder / f"{name}.html").as_uri() for name in ("agree", "differ")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["agree", "differ"])
def test_the_report_is_readable_in_light_and_dark_and_fits_a_narrow_screen(open_explorer, reports, name, scheme):
    """Every text has a contrast of at least 4.5, and only tables scroll sideways."""
    page = open_explorer(reports[name], width=PHONE, color_scheme=scheme)
    parts = ["h1", ".verdict", ".verdict code", "p a", "th", "td", "summary", "dt", "dd"]
    parts += ["td.bad"] * (name == "differ")
    ratios = page.evaluate(CONTRASTS, parts)
    assert min(ratios.values()) >= 4.5, ratios
    assert page.evaluate(STICKING_OUT) == []


def test_the_report_can_be_read_without_javascript(browser, reports):
    page = patient_page(browser, java_script_enabled=False)
    page.goto(reports["agree"])
    assert "intermediates agree" in page.locator(".verdict").inner_text()
    assert page.locator("table").first.is_visible()
    assert "The maps are drawn by JavaScript, which is switched off here." in page.locator("main").inner_text()
    page.close()
