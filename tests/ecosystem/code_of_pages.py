"""The Python code of a page of the site: its blocks, and how to run one."""

import warnings
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"


def python_blocks(page: str) -> list[tuple[str, str]]:
    """(heading, code) for each block of Python in a page, in order."""
    heading, found, inside = "", [], ""
    for line in (PAGES / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = "" if inside else line.removeprefix("```")
            if inside == "python":
                found.append((heading, ""))
        elif inside == "python":
            found[-1] = (heading, f"{found[-1][1]}{line}\n")
        elif not inside and line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def run_block(page: str, heading: str, code: str) -> dict:
    """Run a block in the working folder, and return its names. Warnings of other libraries are ignored."""
    names = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, f"docs/{page}: {heading}", "exec"), names)
    return names
