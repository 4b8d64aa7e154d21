"""Pages with explorers, served to a browser that may request nothing else."""

import numpy as np
import pytest
import torch

from builder.maps import first_mistake
from hatnet.data import open_data
from hatnet.maps import attention_maps
from hatnet.maps.explorer import Start, explorer_script, write_maps
from tests.maps.small import photo_of, random_model
from tests.site.conftest import serving, strict_pages
from tests.site.explorer.reader import CLASSES, SIZE, choose

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark }} body {{ background: Canvas; margin: 8px }}</style>
<script type="module" src="attention-explorer.js"></script>
<body><attention-explorer src="{}.bin"></attention-explorer></body></html>"""


@pytest.fixture(scope="session")
def model():
    return random_model(num_classes=len(CLASSES))


@pytest.fixture(scope="session")
def images():
    """The bundled photo, upright and turned, on a size that nothing divides."""
    photo = photo_of(*SIZE)
    return np.stack([photo, photo[:, ::-1, ::-1]])


@pytest.fixture(scope="session")
def pair(model, images):
    return [attention_maps(model, torch.from_numpy(image)) for image in images]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, model, images):
    """The script, data, a page that loads them, and a page that stands alone."""
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "attention-explorer.js").write_text(explorer_script(), encoding="utf-8")
    facts = {"names": ["upright", "turned"], "provenance": "Random.", "classes": CLASSES, "labels": [0, 0]}
    for name in ("maps.bin", "alone.html"):
        write_maps(folder / name, model, images, **facts, start=Start(query=(30, 17)))
    (folder / "no.bin").write_bytes(b"no maps at all")
    for page, source in (("index", "maps"), ("no", "no"), ("garments", "garments")):
        (folder / f"{page}.html").write_text(PAGE.format(source), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def served(folder):
    with serving(folder) as where:
        yield where


@pytest.fixture
def open_explorer(browser, served):
    with strict_pages(browser, served, "file:") as page_with:

        def open_(address="index.html", width=1000, height=1200, choices=(), **settings):
            page = page_with(viewport={"width": width, "height": height}, **settings)
            page.goto(address if "://" in address else served + address)
            page.locator('attention-explorer .panels, attention-explorer .state:text("cannot")').first.wait_for()
            for name, value in dict(choices).items():
                choose(page, name, value)
            return page

        yield open_


@pytest.fixture(scope="session")
def garments(trained, folder):
    """Labels and maps of two images, the first classified correctly and the second not; `garments.html` shows them."""
    data = open_data("fashion-subset")
    pixels, labels = data.test.pixels.double() / 255, data.test.labels
    wrong = first_mistake(trained, pixels, labels)
    chosen = [0 if wrong else 1, wrong]
    write_maps(
        folder / "garments.bin", trained.model, pixels[chosen].numpy(), names=["right", "wrong"],
        provenance=trained.words, classes=trained.classes, labels=labels[chosen].tolist(),
        normalise=lambda image: (image - trained.mean[0]) / trained.std[0],
        start=Start(query=(10, 15), block=1, kind="global"),
    )  # fmt: skip
    normalised = ((pixels[chosen] - trained.mean[0]) / trained.std[0]).float()
    return labels[chosen].tolist(), [attention_maps(trained.model, image) for image in normalised]
