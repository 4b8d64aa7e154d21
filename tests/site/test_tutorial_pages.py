"""Tutorials: percent scripts become pages with their real outputs, and notebooks; a failing script stops the build."""

import json

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder import tutorials
from builder.notebook import to_notebook, to_plain_markdown
from builder.percent import ScriptError, read_cells
from builder.tutorials import make_page, make_pages
from tests.site.conftest import alter

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
    path = tmp_path / "tutorials/01_small.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


def test_a_tutorial_becomes_a_page(script, tmp_path):
    folder = tmp_path / "pages"
    assert make_pages(tmp_path, folder) == [script]
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
    monkeypatch.setattr(tutorials, "_run", lambda *_: None)
    folder = tmp_path / "pages"
    assert make_pages(tmp_path, folder) == [script]
    assert make_pages(tmp_path, folder) == []
    script.write_text(SCRIPT + "print(total)\n")
    assert make_pages(tmp_path, folder) == [script]
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference/attention.py").write_text("changed = True\n")
    assert make_pages(tmp_path, folder) == [script]
    script.rename(script.with_name("02_other.py"))
    assert [path.name for path in make_pages(tmp_path, folder)] == ["02_other.py"]
    assert not list(folder.glob("*01_small*"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("assert total == 2", "assert total == 3", r'File "tutorials/01_small.py", line 27, in <module>'),
        ("total = 1 + 1", "total = 1 +", r'File "tutorials/01_small.py", line 25'),
        ("figure.set_label", "axes.set_label", "tutorials/01_small.py:11: a figure has no alt text"),
        ("# %% solution", "# %% soluton", "tutorials/01_small.py:24: '# %% soluton' starts no cell"),
        ("# **Exercise.**", "**Exercise.**", "01_small.py:22: a line of a Markdown cell does not start with #"),
        ("# # A small", "# A small", "starts with a title"),
    ],
    ids=["assertion", "syntax", "alt text", "cell", "markdown", "title"],
)
def test_a_tutorial_that_fails_stops_the_build(script, tmp_path, old, new, message):
    """The message names the script's own file and line, and no page of an earlier run is left."""
    page = tmp_path / "pages/01_small.md"
    page.parent.mkdir()
    page.write_text("# The page of an earlier run\n")
    alter(script, old, new)
    with pytest.raises(ScriptError, match=message):
        make_pages(tmp_path, page.parent)
    assert not page.exists()


def test_a_notebook_holds_the_cells_and_no_outputs(script):
    notebook = json.loads(to_notebook(read_cells(script)))
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds == ["markdown", "markdown", "code", "markdown", "code"]
    text = "".join(notebook["cells"][0]["source"])
    assert "<details><summary>Predict: how much is 1 + 1?</summary>\n\nTwo.\n\n</details>" in text
    assert "See the notation." in text, "a link to a page leads nowhere from a notebook"
    assert notebook["cells"][4]["metadata"]["jupyter"] == {"source_hidden": True}
    assert len({cell["id"] for cell in notebook["cells"]}) == len(kinds)


def test_a_diagram_becomes_its_description_in_a_notebook():
    diagram = 'See\n\n![X has two uses.](../concepts/diagrams/backward.svg){ width="600" }\n\nAfter.'
    assert to_plain_markdown(diagram) == "See\n\n*Diagram, on the page of this tutorial: X has two uses.*\n\nAfter."


def test_a_note_becomes_a_quotation_in_a_notebook():
    note = '!!! note "Mind"\n    Two\n    lines.\n\nAfter.'
    assert to_plain_markdown(note) == "> **Mind**\n> \n> Two\n> lines.\n\nAfter."
