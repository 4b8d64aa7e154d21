"""Tutorials: percent scripts become pages with their real outputs, and notebooks; a failing script stops the build."""

import json

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder import tutorials
from builder.figures import DARK, INK, colour_for_both_schemes, prepare_pictures, stack
from builder.notebook import to_notebook, to_plain_markdown
from builder.percent import Cell, ScriptError, read_cells
from builder.tutorial_page import reading_minutes
from builder.tutorials import make_page, make_pages
from tests.site.conftest import ROOT, alter

SCRIPT = """\
# %% [markdown]
# # A small tutorial
#
# See the [notation](../notation.md).
#
# ??? question "Predict: how much is 1 + 1?"
#
#     Two.

# %% [fold: Drawing]
import matplotlib.pyplot as plt

def plot(values):
    figure, (axes, _) = plt.subplots(1, 2)
    figure.set_label("A straight line [rising]")
    axes.plot(values, color="#0072B2")
    plt.show()
    print("drawn")

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
    assert "![A straight line (rising)](01_small-1.svg){ .figure .wide" in page
    assert "![A straight line (rising)](01_small-1-phone.svg){ .figure .narrow" in page
    assert '??? code "Drawing"\n\n    ``` { .python }\n    import matplotlib' in page.replace("```{", "``` {")
    assert "\n``` { .text .output }\ndrawn\n```" in page.replace("```{", "``` {"), (
        "an output is not folded with its code"
    )
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
        ("assert total == 2", "assert total == 3", r'File "tutorials/01_small.py", line 28, in <module>'),
        ("total = 1 + 1", "total = 1 +", r'File "tutorials/01_small.py", line 26'),
        ("figure.set_label", "axes.set_label", "tutorials/01_small.py:11: a figure has no alt text"),
        ("# %% solution", "# %% soluton", "tutorials/01_small.py:25: '# %% soluton' starts no cell"),
        ("# **Exercise.**", "**Exercise.**", "01_small.py:23: a line of a Markdown cell does not start with #"),
        ("# # A small", "# A small", "starts with a title"),
        ("total = 1 + 1", f"total = 1 + 1  # {'long ' * 20}", "line 26 has 117 characters; 100 fit on the page"),
    ],
    ids=["assertion", "syntax", "alt text", "cell", "markdown", "title", "width"],
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
    assert kinds == ["markdown", "markdown", "code", "code", "markdown", "code"]
    text = "".join(notebook["cells"][0]["source"])
    assert "<details><summary>Predict: how much is 1 + 1?</summary>\n\nTwo.\n\n</details>" in text
    assert "See the notation." in text, "a link to a page leads nowhere from a notebook"
    assert notebook["cells"][5]["metadata"]["jupyter"] == {"source_hidden": True}
    assert notebook["cells"][3]["metadata"]["tags"] == ["fold"]
    assert len({cell["id"] for cell in notebook["cells"]}) == len(kinds)


def test_a_diagram_becomes_its_description_in_a_notebook():
    diagram = 'See\n\n![X has two uses.](../concepts/diagrams/backward.svg){ width="600" }\n\nAfter.'
    assert to_plain_markdown(diagram) == "See\n\n*Diagram, on the page of this tutorial: X has two uses.*\n\nAfter."


def test_a_note_becomes_a_quotation_in_a_notebook():
    note = '!!! note "Mind"\n    Two\n    lines.\n\nAfter.'
    assert to_plain_markdown(note) == "> **Mind**\n> \n> Two\n> lines.\n\nAfter."


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "tutorials").glob("[0-9]*.py")))
def test_a_tutorial_can_be_read_in_25_minutes(name):
    """200 words per minute, and a minute for each cell of code that is not folded."""
    assert 5 <= reading_minutes(read_cells(ROOT / f"tutorials/{name}.py")) <= 25


def test_reading_time_counts_words_and_open_cells():
    text = Cell("markdown", "word " * 400, 1)
    assert reading_minutes([text, Cell("code", "x = 1", 1), Cell("code", "x = 1", 1, fold="Drawing")]) == 3


def test_a_figure_has_the_colours_of_both_schemes():
    """The dark colours are readable on the dark page, and the light ones are what was drawn."""
    svg = '<svg><style></style><path style="fill: #0072b2; stroke: #bfbfbf"/><path style="fill: #d55e00"/></svg>'
    light, dark = colour_for_both_schemes(svg).split("@media(prefers-color-scheme:dark)")
    assert "--c0072b2:#0072b2" in light
    assert "--c0072b2:#56b4e9" in dark
    assert "fill: var(--c0072b2)" in dark
    assert "--cbfbfbf:#666666" in dark, "a pale line on white becomes a dull line on black"
    for colour in (INK, "#0072b2", "#d55e00", "#8a4f9e", "#009e73", "#b00000"):
        assert contrast(DARK[colour], DARK["#ffffff"]) > 4.5, colour


def contrast(*colours):
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_a_wide_figure_is_stacked_for_a_phone():
    """Plots stand below one another, and those that shared an axis get its labels back. Pictures stand in pairs."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plots, axes = plt.subplots(1, 3, figsize=(12, 3), sharey=True, layout="constrained")
    axes[0].set_ylabel("value")
    pictures, shown = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
    for ax in shown:
        ax.imshow([[0.0, 1.0], [1.0, 0.0]])
        ax.text(0, 0, "1", color="black")
    for figure in (plots, pictures):
        prepare_pictures(figure)
        stack(figure)
        figure.canvas.draw()
        assert figure.get_figwidth() == 4.2
    assert len({round(ax.get_position().x0, 2) for ax in axes}) == 1
    assert axes[0].get_position().y0 > axes[1].get_position().y1
    assert [ax.get_ylabel() for ax in axes] == ["value"] * 3
    assert axes[2].yaxis.get_tick_params()["labelleft"]
    left, right, below, _ = (ax.get_position() for ax in shown)
    assert right.x0 > left.x1
    assert below.y1 < left.y0
    assert shown[0].texts[0].get_color() == "#000001", "black on a picture is not the ink of the page"
    plt.close("all")


def test_the_first_cell_of_a_notebook_needs_a_wheel_or_an_address(script):
    """With neither it says what to do; with either it calls pip."""
    text = "".join(json.loads(to_notebook(read_cells(script)))["cells"][2]["source"])
    assert "ADDRESS = ''" in text
    with_address = to_notebook(read_cells(script), "https://example.org/hat-net.git")
    assert "ADDRESS = 'https://example.org/hat-net.git'" in json.loads(with_address)["cells"][2]["source"][6]
    missing = text.replace('find_spec("hatnet")', 'find_spec("no_such_package")')
    with pytest.raises(FileNotFoundError, match="All notebooks"):
        exec(compile(missing, "first cell", "exec"), {})


def test_sliders_become_their_text_in_a_notebook():
    assert to_plain_markdown("<div>\n<cost-sliders>\n<p>Text.</p>\n</cost-sliders>\n</div>") == "<p>Text.</p>"
