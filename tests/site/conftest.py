"""The site, built once; a server for it; a browser whose pages may speak to that server alone."""

import functools
import http.server
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000  # ms: on a machine shared with others a page may stand still for half a minute
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site. Tutorials run only if they, or the code under them, have changed."""
    from builder.build import build

    folder = tmp_path_factory.mktemp("site")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="session")
def pages(site):
    """The address of every page, below the site's own."""
    return sorted(str(path.relative_to(site)).removesuffix("index.html") for path in site.rglob("*.html"))


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # a browser asks for all parts of a page at once, and five may wait otherwise


@contextmanager
def serving(folder):
    """Serve a folder to this machine; its address."""
    with _Server(("127.0.0.1", 0), functools.partial(_Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    with serving(site) as where:
        yield where


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, address):
    """Opens pages: `open_page("concepts/", width=390, color_scheme="dark")`.

    At the end the test fails if any of them reported an error or asked another host for something.
    """
    contexts, foreign, errors = [], [], []

    def gate(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    def page_of(color_scheme):
        context = browser.new_context(color_scheme=color_scheme, permissions=["clipboard-read", "clipboard-write"])
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.route("**/*", gate)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        page.on("console", lambda said: errors.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("response", lambda got: errors.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        return page

    cached = functools.cache(page_of)

    def open_(path, width=1280, height=900, color_scheme="light"):
        page = cached(color_scheme)
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not foreign, f"requests to other hosts: {foreign}"
    assert not errors, errors
