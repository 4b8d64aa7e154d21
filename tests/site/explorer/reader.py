"""What a reader does with an explorer, and what the page shows: shared by the tests in a browser."""

import re

import numpy as np

TIMES = "\N{MULTIPLICATION SIGN}"
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


def choose(page, name, value):
    page.locator(f"input[name={name}][value='{value}']").evaluate("input => input.click()")


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


def as_stored(values):
    """A map of the whole network after storage, in float16 shares of its largest number."""
    values = np.float64(values)
    return np.float16(values / values.max()) * values.max()


def slider(page, which):
    """The least, the present and the largest value of a canvas, as screen readers know them."""
    return tuple(int(canvas(page, which).get_attribute(f"aria-value{name}")) for name in ("min", "now", "max"))
