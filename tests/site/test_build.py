"""`mkdocs build --strict` makes the complete site, or stops and names what is wrong. So does --quiet."""

import compileall
import os
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("math_core", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder import GENERATED
from builder.build import BuildError, build
from builder.code import insert_code
from builder.excerpts import ExcerptError, cut
from builder.inputs import check_code_on_pages
from builder.mathematics import FormulaError, to_mathml
from tests.site.conftest import ROOT, alter


@pytest.fixture
def small_site(tmp_path):
    """A checkout of one page, with the settings of the real site, but without its tutorials and checks."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "reference").mkdir()
    shutil.copy(ROOT / "reference/attention.py", tmp_path / "reference")
    (tmp_path / "hook.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'docs')!r})\n"
        "from builder.pages import on_config, on_page_content, on_page_markdown\n"
    )
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\nhooks: [hook.py]\nnav: [index.md]\nextra_css: []\nwatch: []\n"
    )
    (tmp_path / "docs/index.md").write_text(
        "---\ndescription: One page\n---\n\n# A page\n\n$A_1 + X$, [here](index.md#below)\n\n"
        "@code reference/attention.py softmax\n\n## Below $G_1$ {#below}\n"
    )
    return tmp_path


def test_a_correct_page_builds(small_site):
    build(small_site, small_site / "site")
    html = (small_site / "site/index.html").read_text()
    assert "<msub><mi>A</mi><mn>1</mn></msub>" in html
    assert re.search(r"reference/attention.py:\d+", html)
    assert "Each row" not in html, "the docstring is left out"
    assert "\\(" not in html, "formulas of headings are converted in the table of contents, too"


@pytest.mark.parametrize("quiet", [False, True], ids=["", "quiet"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A_1", r"\frac{A_1", r"index.md.*invalid formula \\frac{A_1 \+ X"),
        ("index.md#below", "nowhere.md", "nowhere.md"),
        ("#below)", "#above)", "above"),
        ("softmax", "hardmax", "index.md.*does not define 'hardmax'"),
        ("description: One page", "hide: [toc]", "index.md has no paragraph of .* characters; add `description:`"),
    ],
    ids=["formula", "link", "anchor", "code", "description"],
)
def test_a_broken_page_stops_the_build(small_site, capfd, old, new, message, quiet):
    """The message names the page and the fault. --quiet, which drops warnings, still shows it."""
    alter(small_site / "docs/index.md", old, new)
    with pytest.raises(BuildError):
        build(small_site, small_site / "site", quiet=quiet)
    printed = capfd.readouterr().err
    assert re.search(message, printed, re.DOTALL)
    assert "Traceback" not in printed


def test_a_formula_is_checked_before_it_is_shown():
    assert "<mfrac>" in to_mathml(r"\frac{1}{2}")
    with pytest.raises(FormulaError, match="unknown"):
        to_mathml(r"\unknown")


def test_excerpts_keep_comments_and_lose_docstrings_and_indentation():
    method = cut(ROOT / "hatnet/hierarchical_attention.py", "HMHSA.aggregate")
    first, *_, last = method.source.splitlines()
    assert first.startswith("def aggregate(self, ")
    assert re.search(r"^    return .*  # Eq. 14$", last)
    assert '"""' not in method.source
    lines = (ROOT / "hatnet/hierarchical_attention.py").read_text().splitlines()
    assert lines[method.line - 1].strip() == first


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("nowhere.py softmax", "docs/index.md: no file .*nowhere.py"),
        ("reference/attention.py sofmax", "it defines softmax"),
    ],
)
def test_code_that_does_not_exist_is_found_before_the_tutorials_run(small_site, code, message):
    alter(small_site / "docs/index.md", "reference/attention.py softmax", code)
    with pytest.raises(ExcerptError, match=message):
        check_code_on_pages(small_site)


def test_a_directive_inside_a_fence_stays_as_it_is():
    page = "```\n@code nowhere.py nothing\n```"
    assert insert_code(page, ROOT) == page


def mkdocs(checkout, *options):
    """A bare mkdocs, as a reader would run it, with nothing on the import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [shutil.which("mkdocs", path=os.path.dirname(sys.executable)) or "mkdocs", "build", "--strict", *options]  # noqa: PTH120
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path, site):
    """A copy of the checkout whose generated pages are up to date, as `site` has just made them."""
    at_the_top = shutil.ignore_patterns(".git", ".venv", ".hypothesis", "build", "site", "runs", "data", ".*_cache")
    everywhere = shutil.ignore_patterns("__pycache__")  # other tests write it meanwhile

    def left_out(folder, names):
        return everywhere(folder, names) | (at_the_top(folder, names) if folder == str(ROOT) else set())

    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=left_out)
    shutil.copytree(ROOT / GENERATED, copy / GENERATED)
    return copy


@pytest.mark.parametrize("options", [(), ("--quiet",)], ids=["", "quiet"])
def test_a_bare_mkdocs_builds_the_complete_site(checkout, site, options):
    """The same files as `hatnet docs`: tutorials, data and script of the explorers; no builder, no bytecode."""
    compileall.compile_dir(checkout / "docs/live", quiet=1)
    done = mkdocs(checkout, *options)
    assert done.returncode == 0, done.stderr
    built, expected = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (checkout / "site", site)
    )
    assert built == expected
    assert {"tutorials/01_attention/index.html", "js/attention-explorer.js", "complexity/index.html"} <= built
    assert any(path.startswith("data/generated/attention-trained") for path in built)
    assert not any(path.startswith("builder") or "__pycache__" in path for path in built)


@pytest.mark.parametrize("options", [(), ("--quiet",)], ids=["", "quiet"])
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "tutorials/01_attention.py",
            "\n# %%\n",
            "\n# %%\nassert False, 'on purpose'\n",
            "01_attention.py.*on purpose",
        ),
        ("docs/builder/hook.py", '"math_core"', '"absent"', r"absent.*pip install -c constraints.txt -e '\.\[docs\]'"),
    ],
    ids=["tutorial", "package"],
)
def test_a_tutorial_that_fails_or_a_missing_package_stops_a_bare_mkdocs(checkout, options, file, old, new, message):
    alter(checkout / file, old, new)
    done = mkdocs(checkout, *options)
    assert done.returncode == 1
    assert re.search(message, done.stderr, re.DOTALL)
