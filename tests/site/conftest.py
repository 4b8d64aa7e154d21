"""The site, built once; a server for it; a browser whose pages may only reach that server."""

import functools
import http.server
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from hatnet.weights.source import find_source

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000  # ms: on a busy machine a page may take half a minute
PHONE = 390  # pixels
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

# Elements of the content that reach beyond the window and are in no scrolling box.
OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const boxed = element => !element.matches(".md-content__inner")
    && (scrolls(element.parentElement) || boxed(element.parentElement));
  const out = [...document.querySelectorAll(".md-content__inner *")].filter(element => {
    const {width: w, height: h, left, right} = element.getBoundingClientRect();
    return w && h && (right > width + 1 || left < -1) && !boxed(element);
  });
  if (document.documentElement.scrollWidth > width) out.push(document.documentElement);
  return out.map(element => element.outerHTML.slice(0, 120));
}"""

# selectors -> contrast of each element's text with what is painted behind it; also inside an <attention-explorer>.
CONTRASTS = """selectors => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const painted = colours => {  // the colour of these, painted over one another
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => value / 255);
  };
  const luminance = colour => colour
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, channel) => sum + value * [0.2126, 0.7152, 0.0722][channel], 0);
  const inside = document.querySelector("attention-explorer")?.shadowRoot;
  const above = element => element.parentElement ?? element.getRootNode().host;
  const background = element => getComputedStyle(element).backgroundColor;
  const behind = element => element ? [...behind(above(element)), background(element)] : [];
  return Object.fromEntries(selectors.map(selector => {
    const element = document.querySelector(selector) ?? inside.querySelector(selector), ground = behind(element);
    const [low, high] = [luminance(painted(ground)), luminance(painted([...ground, getComputedStyle(element).color]))]
      .sort((a, b) => a - b);
    return [selector, (high + 0.05) / (low + 0.05)];
  }));
}"""


def alter(path, old, new):
    text = path.read_text()
    assert old in text, f"{path.name} does not contain {old!r}"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site, shared by all workers. Tutorials run only if something they need has changed."""
    pytest.importorskip("math_core", reason="the extra `docs` is not installed: pip install -e '.[docs]'")
    from builder.build import build

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(folder.with_suffix(".lock")):  # the first worker builds, the others wait
        if not folder.exists():
            building = folder.with_name("unfinished-site")
            build(ROOT, building)
            building.rename(folder)
    return folder


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # a browser requests all parts of a page at once; the default queues only five


@contextmanager
def serving(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def address(site):
    with serving(site) as where:
        yield where


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


def patient_page(browser, **settings):
    """A page in a context of its own, without the checks of `strict_pages`."""
    page = browser.new_page(**settings)
    page.set_default_timeout(PATIENCE)
    return page


@contextmanager
def strict_pages(browser, *allowed):
    """A function that opens a page in a new context; a page's errors and requests to other hosts fail the test."""
    contexts, foreign, errors = [], [], []

    def gate(route):
        if route.request.url.startswith((*allowed, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    def page_with(**settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.route("**/*", gate)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        page.on("console", lambda line: errors.append(f"{page.url}: {line.text}") if line.type == "error" else None)
        page.on("response", lambda reply: errors.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
        return page

    yield page_with
    for context in contexts:
        context.close()
    assert not foreign, f"requests to other hosts: {foreign}"
    assert not errors, errors


@pytest.fixture(scope="session")
def trained():
    """The network that comes with the package."""
    return find_source("fashion-mnist")


@pytest.fixture
def open_page(browser, address):
    """A function that opens a page: `open_page("concepts/", width=390, color_scheme="dark")`."""
    with strict_pages(browser, address) as page_with:
        cached = functools.cache(page_with)

        def open_(path, width=1280, height=900, color_scheme="light"):
            page = cached(color_scheme=color_scheme, permissions=("clipboard-read", "clipboard-write"))
            page.set_viewport_size({"width": width, "height": height})
            page.goto(address + path)
            return page

        yield open_
