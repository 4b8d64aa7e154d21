"""One tutorial: run its script, and write the page with its real outputs, and the script itself.

In a process of its own, so that every script starts fresh: `python -m builder.tutorial_page SCRIPT FOLDER`.
"""

import re
import shutil
import sys
import textwrap
from pathlib import Path

from builder.bundle import ARCHIVE
from builder.percent import Cell, ScriptError
from builder.runner import Figure, Outcome, run_script

CODE_WIDTH = 100  # characters that fit beside both side bars in a window of 1280 pixels; longer outputs wrap


def write_page(script: Path, folder: Path) -> None:
    """Run a script and write NAME.md, NAME.py and its figures to `folder`.

    Args:
        script: path from the checkout, which must be the working directory.
        folder: an existing folder.

    Raises:
        ScriptError: if a cell fails, or the script does not start with a title.
    """
    outcomes = run_script(script, folder)
    (folder / f"{script.stem}.md").write_text(to_page(script, outcomes), encoding="utf-8")
    shutil.copyfile(script, folder / script.name)


def to_page(script: Path, outcomes: list[Outcome]) -> str:
    """The Markdown of a tutorial's page.

    Raises:
        ScriptError: if the first cell does not start with a title.
    """
    parts = [_solution(outcome) if outcome.cell.kind == "solution" else _cell(outcome) for outcome in outcomes]
    text = "\n\n".join(parts)
    title = re.match(r"# .+", text)
    if title is None:
        raise ScriptError(f"{script}: the first cell must be Markdown that starts with a title, `# ...`")
    name = script.stem
    downloads = f"[Notebook]({name}.ipynb){{ .md-button download }} [Script]({name}.py){{ .md-button download }}"
    downloads += f" [All notebooks](../{ARCHIVE}){{ .md-button download }}"
    downloads += f" About {reading_minutes([outcome.cell for outcome in outcomes])} minutes."
    return f"{title[0]}\n\n{downloads}\n{{ .downloads }}\n\n{text[title.end() :].lstrip()}\n"


def reading_minutes(cells: list[Cell]) -> int:
    """Minutes to read a tutorial: 200 words of text per minute, and one per cell of code that is not folded."""
    words = sum(len(cell.source.split()) for cell in cells if cell.kind == "markdown")
    return round(words / 200 + sum(cell.kind == "code" and not cell.fold for cell in cells))


def _cell(outcome: Outcome) -> str:
    if outcome.cell.kind == "markdown":
        return outcome.cell.source
    for number, line in enumerate(outcome.cell.source.splitlines(), outcome.cell.line):
        if len(line) > CODE_WIDTH:
            raise ScriptError(f"line {number} has {len(line)} characters; {CODE_WIDTH} fit on the page:\n{line}")
    code = _fence(outcome.cell.source, "python")
    parts = [_folded("code", outcome.cell.fold, code) if outcome.cell.fold else code]
    if outcome.printed.strip():
        parts.append(_fence(outcome.printed.rstrip(), "text .output"))
    parts += [_images(figure) for figure in outcome.figures]
    return "\n\n".join(parts)


def _solution(outcome: Outcome) -> str:
    return _folded("success", "Solution", _cell(outcome))


def _folded(kind: str, title: str, text: str) -> str:
    return f'??? {kind} "{title}"\n\n' + textwrap.indent(text, "    ")


def _fence(text: str, language: str) -> str:
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}{{ .{language} }}\n{text}\n{ticks}"


def _images(figure: Figure) -> str:
    """Both layouts. The style sheet shows one of them, and a browser does not load a hidden, lazy image."""
    alt = figure.alt.replace("[", "(").replace("]", ")").replace("\n", " ")
    if figure.phone == figure.file:
        return f"![{alt}]({figure.file}){{ .figure .small loading=lazy }}"
    wide = f"![{alt}]({figure.file}){{ .figure .wide loading=lazy }}"
    return f"{wide}\n![{alt}]({figure.phone}){{ .figure .narrow loading=lazy }}"


if __name__ == "__main__":
    try:
        write_page(Path(sys.argv[1]), Path(sys.argv[2]))
    except ScriptError as error:
        sys.exit(str(error))
