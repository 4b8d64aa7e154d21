"""Pages with explorers, served to a browser that may request nothing else; what a reader does with them and sees."""

import json
import re

import numpy as np
import pytest
import torch

from builder.maps import first_mistake
from hatnet.data import open_data
from hatnet.equivalence import randomise
from hatnet.maps import attention_maps
from hatnet.maps.explorer import Start, decode, explorer_script, write_maps
from tests.maps.small import photo_of, random_model
from tests.site.conftest import serving, strict_pages

SIZE = (31, 45)  # at stride 2 a map of 16 x 23: windows of 8 and cells of 4 do not divide it
TOLERANCE = {"rtol": 2**-10, "atol": 2**-24}  # two weights of 11 bits each are multiplied
CLASSES = ["cat", "dog", "boot"]

STICKING_OUT = """() => {
  const all = [...document.querySelector("attention-explorer").shadowRoot.querySelectorAll("*")];
  const out = all.filter(element => !element.closest(".line")
    && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) out.push(document.documentElement);
  return out.map(element => element.outerHTML.slice(0, 100));
}"""

BRIGHTNESS = """(canvas, [x, y]) => {
  const [r, g, b] = canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark }} body {{ background: Canvas; margin: 8px }}</style>
<script type="module" src="attention-explorer.js"></script>
<body><attention-explorer src="{}"{}></attention-explorer></body></html>"""


CLICK = """selector => {
  const input = document.querySelector("attention-explorer").shadowRoot.querySelector(selector);
  input?.click();
  return Boolean(input);
}"""


def click(page, name, value):
    """Find and click a radio button at once: one found before maps arrived may be gone when it is clicked."""
    page.wait_for_function(CLICK, arg=f"input[name={name}][value='{value}']")


def choose(page, name, value):
    """Click a radio button, and wait for its maps."""
    click(page, name, value)
    page.locator('attention-explorer [aria-busy="true"]').wait_for(state="detached")


def canvas(page, which):
    return page.locator(f".{which} canvas").first


def point(page, which, x, y, act="hover"):
    """Go to a place of a canvas, given in fractions of it."""
    box = canvas(page, which).bounding_box()
    getattr(canvas(page, which), act)(position={"x": x * box["width"], "y": y * box["height"]})


def query_of(page):
    """Row and column of the query, as spoken by screen readers."""
    text = canvas(page, "query").get_attribute("aria-valuetext")
    return tuple(int(number) for number in re.fullmatch(r"token in row (\d+), column (\d+)", text).groups())


def plain(text):
    return " ".join(text.translate({0xD7: "x", 0x2212: "-"}).split())


def text(page, selector):
    return plain(page.locator(f"attention-explorer {selector}").first.inner_text())


def shown(value):
    """A number of three digits, as the explorer writes it."""
    if value >= 1e-4:
        return f"{value:#.3g}"
    number, power = f"{value:.2e}".split("e-")
    return f"{number} x 10\N{SUPERSCRIPT MINUS}{'⁰¹²³⁴⁵⁶⁷⁸⁹'[int(power)]}"


def slider(page, which):
    """The least, the present and the largest value of a canvas, as screen readers know them."""
    return tuple(int(canvas(page, which).get_attribute(f"aria-value{name}")) for name in ("min", "now", "max"))


@pytest.fixture(scope="session")
def model():
    return random_model(num_classes=len(CLASSES))


@pytest.fixture(scope="session")
def images():
    photo = photo_of(*SIZE)
    return np.stack([photo, photo[:, ::-1, ::-1]])


@pytest.fixture(scope="session")
def pair(model, images):
    return [attention_maps(model, torch.from_numpy(image)) for image in images]


@pytest.fixture(scope="session")
def other():
    """A network like `model`, with other weights."""
    network = random_model(num_classes=len(CLASSES))
    randomise(network, seed=1)
    return network


@pytest.fixture(scope="session")
def other_pair(other, images):
    return [attention_maps(other, torch.from_numpy(image)) for image in images]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, model, other, images):
    """The script, data, a page that loads them, and a page that stands alone."""
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "attention-explorer.js").write_text(explorer_script(), encoding="utf-8")
    facts = {"names": ["upright", "turned"], "provenance": "Random.", "classes": CLASSES, "labels": [0, 0]}
    for name in ("maps.bin", "alone.html"):
        write_maps(folder / name, model, images, **facts, start=Start(query=(30, 17)))
    (folder / "no.bin").write_bytes(b"no maps at all")
    for page, source in (("index", "maps"), ("no", "no"), ("garments", "garments")):
        (folder / f"{page}.html").write_text(PAGE.format(f"{source}.bin", ""), encoding="utf-8")
    several, files = {**facts, "start": Start(query=(30, 17))}, []
    for name, network in (("first", model), ("second", other), ("third", other)):
        files.append([f"{name}-0.bin", f"{name}-1.bin"])
        for index, file in enumerate(files[-1]):
            one = {key: value[index : index + 1] for key, value in facts.items() if key in ("names", "labels")}
            write_maps(folder / file, network, images[index : index + 1], **{**several, **one})
    files.append(["no.bin", "no.bin"])
    write_pair(folder, "pair", files)
    return folder


def write_pair(folder, name, files):
    """Write an index and a page of networks that have these files, one for each picture; return the page's name."""
    images = [decode((folder / file).read_bytes())[0]["pictures"][0] for file in files[0]]
    networks = [
        {"name": network, "provenance": f"{network}.", "files": each}
        for network, each in zip(("First", "Second", "Third", "Broken"), files, strict=False)
    ]
    pictures = [{"name": image["name"], "image": image["image"]} for image in images]
    (folder / f"{name}.json").write_text(json.dumps({"networks": networks, "pictures": pictures}), encoding="utf-8")
    (folder / f"{name}.html").write_text(PAGE.format(f"{name}.json", " linked"), encoding="utf-8")
    return f"{name}.html"


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
