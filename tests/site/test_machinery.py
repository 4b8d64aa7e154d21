"""What builds the site: a broken tag, tutorial, link or formula stops it, and the same input gives the same bytes."""

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed: pip install -e '.[docs]'")
pytest.importorskip("math_core", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder import tutorials
from builder.build import BuildError, mkdocs
from builder.code import directives_to_fences
from builder.excerpts import ExcerptError, cut
from builder.mathematics import FormulaError, to_mathml
from builder.notebook import to_notebook, to_plain_markdown
from builder.percent import ScriptError, read_cells
from builder.runner import Outcome
from builder.traceability import LEDGER, TraceabilityError, check_ledger, trace
from builder.tutorials import make_page, make_pages, to_page
from tests.site.conftest import ROOT


def alter(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r} to alter"
    path.write_text(text.replace(old, new))


# Equations, code, tests, ledger


@pytest.fixture
def copy(tmp_path):
    """A copy of what the tags stand in, to be broken."""
    for package in ("reference", "hatnet", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            place = tmp_path / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / LEDGER, tmp_path / LEDGER)
    return tmp_path


def test_every_equation_has_its_lines_and_its_test(copy):
    rows = trace(copy)
    assert [row.equation for row in rows] == list(range(1, 16))
    for row in rows:
        for line in (*row.reference, *row.hatnet):
            assert line.code in (copy / line.path).read_text().splitlines()[line.number - 1]


def test_code_and_ledger_carry_the_same_tags(copy):
    assert len(check_ledger(copy)) >= 8


@pytest.mark.parametrize("package", ["reference", "hatnet"])
def test_an_equation_without_its_tag_is_a_hole(copy, package):
    for path in (copy / package).rglob("*.py"):
        path.write_text(path.read_text().replace("Eq. 9", "the residual"))
    with pytest.raises(TraceabilityError, match=f"Eq. 9 has no tag in {package}/"):
        trace(copy)


def test_a_mistyped_equation_is_found(copy):
    alter(copy / "reference/hierarchical_attention.py", "Eq. 10", "Eq. 16")
    with pytest.raises(TraceabilityError, match=r"reference/hierarchical_attention.py:\d+ is tagged Eq. 16"):
        trace(copy)


def test_an_equation_without_a_test_is_a_hole(copy):
    for path in (copy / "tests").glob("*.py"):
        path.unlink()
    with pytest.raises(TraceabilityError, match=r"Eq\. 14 has no tag in tests/"):
        trace(copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LEDGER, "## D2", "## D20", "D2 is tagged at .*, but has no entry"),
        (LEDGER, "## D2", "## D20", "D20 has an entry, but no line is tagged with it"),
        (LEDGER, "## D3", "## D2", "D2 has two entries"),
        (LEDGER, "::test_", "::test_not_", "names tests/.*, which is not there"),
        (LEDGER, "tests/", "the tests in ", "D1 names no test"),
        ("hatnet/layers.py", "# D6", "# D66", "D66 is tagged at hatnet/layers.py:.*, but has no entry"),
    ],
)
def test_a_ledger_that_does_not_match_is_refused(copy, file, old, new, message):
    alter(copy / file, old, new)
    with pytest.raises(TraceabilityError, match=message):
        check_ledger(copy)


# Pages


@pytest.fixture
def small_site(tmp_path):
    """A checkout of one page, with the settings of the real one."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "reference").mkdir()
    shutil.copy(ROOT / "reference/attention.py", tmp_path / "reference")
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\nnav: [index.md]\nextra_css: []\nwatch: []\n")
    (tmp_path / "docs/index.md").write_text(
        "# A page\n\n$A_1 + X$, [here](index.md#below)\n\n@code reference/attention.py softmax\n\n## Below\n"
    )
    return tmp_path


def test_a_sound_page_builds(small_site):
    mkdocs(small_site, small_site / "site")
    html = (small_site / "site/index.html").read_text()
    assert "<msub><mi>A</mi><mn>1</mn></msub>" in html
    assert "reference/attention.py:11" in html
    assert "Each row" not in html, "the docstring is left out"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("A_1", r"\frac{A_1", r"index.md.*invalid formula \\frac{A_1 \+ X"),
        ("index.md#below", "nowhere.md", "nowhere.md"),
        ("#below", "#above", "above"),
        ("softmax", "hardmax", "index.md.*does not define 'hardmax'"),
    ],
    ids=["formula", "link", "anchor", "code"],
)
def test_a_broken_page_stops_the_build(small_site, capfd, old, new, said):
    """The message names the page and what is wrong with it."""
    alter(small_site / "docs/index.md", old, new)
    with pytest.raises(BuildError):
        mkdocs(small_site, small_site / "site")
    assert re.search(said, capfd.readouterr().err)


def test_a_formula_is_checked_before_it_is_shown():
    assert "<mfrac>" in to_mathml(r"\frac{1}{2}")
    with pytest.raises(FormulaError, match="unknown"):
        to_mathml(r"\unknown")


def test_excerpts_keep_comments_and_lose_docstrings_and_indentation():
    method = cut(ROOT / "hatnet/hierarchical_attention.py", "HMHSA.aggregate")
    first, second = method.source.splitlines()
    assert first.startswith("def aggregate(self, ")
    assert second == "    return self.drop(self.projection(A1 + A2))  # Eq. 14"
    lines = (ROOT / "hatnet/hierarchical_attention.py").read_text().splitlines()
    assert lines[method.line - 1].strip() == first


def test_an_excerpt_of_nothing_is_refused():
    with pytest.raises(ExcerptError, match="it defines softmax"):
        cut(ROOT / "reference/attention.py", "sofmax")


def test_a_directive_that_is_shown_as_code_is_left_alone():
    lines = ["```", "@code nowhere.py nothing", "```"]
    assert directives_to_fences(lines, ROOT) == lines


# Tutorials

SCRIPT = """\
# %% [markdown]
# # A small tutorial
#
# See the [notation](../notation.md).
#
# ??? question "Predict: how much is 1 + 1?"
#
#     Two.

# %%
import matplotlib.pyplot as plt

def plot(values):
    figure, axes = plt.subplots()
    figure.set_label("A straight line [rising]")
    axes.plot(values)
    plt.show()

plot([1, 2])

# %% [markdown]
# **Exercise.** Add two numbers.

# %% solution
total = 1 + 1
print("total", total)
assert total == 2
"""


@pytest.fixture
def script(tmp_path):
    """A checkout that has just one tutorial."""
    path = tmp_path / "tutorials/01_small.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


def unrun(script: Path) -> list[Outcome]:
    """What comes of a script whose cells do nothing."""
    return [Outcome(cell, "", ()) for cell in read_cells(script)]


def test_a_tutorial_becomes_a_page(script, tmp_path):
    assert make_pages(tmp_path) == [script]
    folder = tmp_path / "docs/tutorials"
    page = (folder / "01_small.md").read_text()
    assert page.startswith("# A small tutorial\n\n[Notebook](01_small.ipynb)")
    assert "![A straight line (rising)](01_small-1.svg){ .figure" in page
    assert '??? success "Solution"\n\n    ``` { .python }\n    total = 1 + 1' in page.replace("```{", "``` {")
    assert "    total 2" in page
    assert (folder / "01_small.py").read_text() == SCRIPT


def test_the_same_tutorial_gives_the_same_bytes(script, tmp_path):
    written = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        make_page(script, folder, tmp_path)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert any(name.endswith(".svg") for name in written[0])


def test_a_tutorial_runs_again_only_after_a_change(script, tmp_path, monkeypatch):
    monkeypatch.setattr(tutorials, "run_script", lambda script, *_: unrun(script))
    assert make_pages(tmp_path) == [script]
    assert make_pages(tmp_path) == []
    assert make_pages(tmp_path, again=True) == [script]
    script.write_text(SCRIPT + "print(total)\n")
    assert make_pages(tmp_path) == [script]
    script.rename(script.with_name("02_other.py"))
    assert [path.name for path in make_pages(tmp_path)] == ["02_other.py"]
    assert not list((tmp_path / "docs/tutorials").glob("*01_small*"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("assert total == 2", "assert total == 3", r'File "tutorials/01_small.py", line 27, in <module>'),
        ("total = 1 + 1", "total = 1 +", r'File "tutorials/01_small.py", line 25'),
        ("figure.set_label", "axes.set_label", "tutorials/01_small.py:11: a figure has no alt text"),
        ("# %% solution", "# %% soluton", "tutorials/01_small.py:24: '# %% soluton' is no cell"),
    ],
    ids=["assertion", "syntax", "alt text", "cell"],
)
def test_a_tutorial_that_fails_stops_the_build(script, tmp_path, old, new, message):
    """The message names the script's own file and line, and no page is left from before."""
    alter(script, old, new)
    with pytest.raises(ScriptError, match=message):
        make_pages(tmp_path)
    assert not (tmp_path / "docs/tutorials/01_small.md").exists()


def test_a_page_starts_with_a_title(script):
    alter(script, "# # A small", "# A small")
    with pytest.raises(ValueError, match="starts with a title"):
        to_page(script, unrun(script))


def test_a_notebook_holds_the_cells_and_no_outputs(script):
    notebook = json.loads(to_notebook(read_cells(script)))
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds == ["markdown", "markdown", "code", "markdown", "code"]
    text = "".join(notebook["cells"][0]["source"])
    assert "<details><summary>Predict: how much is 1 + 1?</summary>\n\nTwo.\n\n</details>" in text
    assert "See the notation." in text, "a link to a page leads nowhere from a notebook"
    assert notebook["cells"][4]["metadata"]["jupyter"] == {"source_hidden": True}
    assert len({cell["id"] for cell in notebook["cells"]}) == len(kinds)


def test_a_note_becomes_a_quotation_in_a_notebook():
    note = '!!! note "Mind"\n    Two\n    lines.\n\nAfter.'
    assert to_plain_markdown(note) == "> **Mind**\n> \n> Two\n> lines.\n\nAfter."
