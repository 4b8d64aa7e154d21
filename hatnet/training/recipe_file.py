"""Read and write recipe files. The `run.json` of a run is read too."""

from pathlib import Path
from typing import Any

from hatnet.files import expand_home, json_bytes, read_json
from hatnet.training.recipes import Recipe, from_json, to_json

FORMAT, VERSION = "hatnet recipe", 1
LARGEST = 10_000_000  # bytes


def recipe_text(recipe: Recipe) -> str:
    """The text of a recipe file, for `read_recipe`."""
    return json_bytes({"format": FORMAT, "version": VERSION, "recipe": to_json(recipe)}).decode()


def read_recipe(path: Path) -> tuple[Recipe, int | None]:
    """Read a recipe from a file, a run's folder or its `run.json`. Also return a run's threads on a CPU, else None.

    Raises FileNotFoundError if there is no such file, and ValueError if it does not hold a valid recipe.
    """
    path = expand_home(path)
    path = path / "run.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no recipe file at {path}; give a file, or the folder of a run")
    try:
        content = read_json(path, LARGEST)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("recipe"), dict):
        raise ValueError(f'{path} holds no recipe: it must be a JSON object with the key "recipe", or a run.json')
    if content.get("format") == FORMAT and content.get("version") != VERSION:
        raise ValueError(f"{path} has version {content.get('version')!r}; this version of hatnet reads {VERSION}")
    try:
        return from_json(content["recipe"]), _threads(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _threads(content: dict[str, Any]) -> int | None:
    hardware = content.get("hardware")
    threads = hardware.get("threads per process") if isinstance(hardware, dict) else None
    return threads if isinstance(threads, int) and not isinstance(threads, bool) else None
