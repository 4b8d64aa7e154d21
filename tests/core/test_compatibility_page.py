"""`docs/compatibility.md` names the extras, the lower bounds and the public modules of the package."""

import re
import tomllib
from pathlib import Path

import hatnet

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_page_names_every_extra():
    table = PAGE[PAGE.index("| extra |") : PAGE.index("On Linux")]
    assert (
        set(re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|$)", table, re.MULTILINE)) == PROJECT["optional-dependencies"].keys()
    )


def test_the_page_states_the_lower_bounds():
    bounds = dict(package.split(">=") for package in PROJECT["dependencies"])
    python = PROJECT["requires-python"].removeprefix(">=")
    assert f"Python {python} or newer, PyTorch {bounds['torch']} or newer, NumPy {bounds['numpy']} or newer" in PAGE
    assert re.search(rf"^\| [^|]*{re.escape(bounds['torch'])}\.\d+ \|", PAGE, re.MULTILINE), (
        "not tested with the oldest"
    )


def test_the_page_lists_the_public_modules():
    package = Path(hatnet.__file__).parent
    names = set()
    for path in package.rglob("*.py"):
        if re.search(r"^__all__", path.read_text(encoding="utf-8"), re.MULTILINE):
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            names.add(module.removesuffix(".__init__"))
    listed = re.search(r"public `__all__`: (.*?)\.\n", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`([\w.]+)`", listed)) == {name for name in names if not name.startswith("hatnet.studies")}
