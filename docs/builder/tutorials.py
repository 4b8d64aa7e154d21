"""Tutorials: percent scripts that become pages with their real outputs, and notebooks to take away.

A script runs again only when it, the code it may call, or the libraries under it have changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import re
import shutil
import textwrap
from pathlib import Path

from builder.notebook import to_notebook
from builder.percent import read_cells
from builder.runner import Figure, Outcome, run_script

PAGES = "docs/tutorials"
LIBRARIES = ("numpy", "torch", "torchvision", "pillow", "matplotlib", "hypothesis")


def make_pages(root: Path, again: bool = False) -> list[Path]:
    """Bring the pages of `root`/tutorials/*.py up to date, and remove those whose script is gone.

    Args:
        root: the checkout.
        again: run every script, changed or not.

    Returns:
        The scripts that ran.

    Raises:
        ScriptError: if a script fails; its page is not touched.
    """
    scripts = sorted((root / "tutorials").glob("[0-9]*.py"))
    folder = root / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not any(old.name.lstrip(".").startswith(script.stem) for script in scripts):
            old.unlink()
    return [script for script in scripts if make_page(script, folder, root, again)]


def make_page(script: Path, folder: Path, root: Path, again: bool = False) -> bool:
    """Run one script unless nothing has changed since it last ran; True if it ran."""
    stamp, inputs = folder / f".{script.stem}.inputs", inputs_of(script, root)
    if not again and stamp.is_file() and stamp.read_text(encoding="utf-8") == inputs:
        return False
    stamp.unlink(missing_ok=True)
    outcomes = run_script(script, folder, root)
    (folder / f"{script.stem}.md").write_text(to_page(script, outcomes), encoding="utf-8")
    (folder / f"{script.stem}.ipynb").write_text(to_notebook(read_cells(script)), encoding="utf-8")
    shutil.copyfile(script, folder / script.name)
    stamp.write_text(inputs, encoding="utf-8")
    return True


def inputs_of(script: Path, root: Path) -> str:
    """A hash of everything that a tutorial's page depends on."""
    patterns = ["reference/*.py", "hatnet/*.py", "hatnet/assets/*"]
    packages = ("complexity", "data", "maps", "relatives", "studies/common", "studies/scaling", "training", "weights")
    patterns += [f"hatnet/{package}/*.py" for package in packages]
    patterns += ["docs/data/*.json", "docs/measurements/*.json", "docs/measurements/*/*.*"]
    patterns += [f"docs/builder/{module}.py" for module in ("percent", "runner", "notebook", "tutorials")]
    digest = hashlib.sha256(script.read_bytes())
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return digest.hexdigest()


def to_page(script: Path, outcomes: list[Outcome]) -> str:
    """The Markdown of a tutorial's page."""
    parts = [_solution(outcome) if outcome.cell.kind == "solution" else _cell(outcome) for outcome in outcomes]
    title, rest = _split_title("\n\n".join(parts), script)
    downloads = (
        f"[Notebook]({script.stem}.ipynb){{ .md-button download }} [Script]({script.name}){{ .md-button download }}"
    )
    return f"{title}\n\n{downloads}\n{{ .downloads }}\n\n{rest}\n"


def _split_title(page: str, script: Path) -> tuple[str, str]:
    found = re.match(r"# .+", page)
    if found is None:
        raise ValueError(f"{script}: the first cell must be Markdown that starts with a title, `# ...`")
    return found[0], page[found.end() :].lstrip("\n")


def _cell(outcome: Outcome) -> str:
    if outcome.cell.kind == "markdown":
        return outcome.cell.source
    parts = [_fence(outcome.cell.source, "python")]
    if outcome.printed.strip():
        parts.append(_fence(outcome.printed.rstrip(), "text .output"))
    parts += [_image(figure) for figure in outcome.figures]
    return "\n\n".join(parts)


def _solution(outcome: Outcome) -> str:
    return '??? success "Solution"\n\n' + textwrap.indent(_cell(outcome), "    ")


def _fence(text: str, language: str) -> str:
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}{{ .{language} }}\n{text}\n{ticks}"


def _image(figure: Figure) -> str:
    alt = figure.alt.replace("[", "(").replace("]", ")").replace("\n", " ")
    return f"![{alt}]({figure.file}){{ .figure }}"
