"""The command `hatnet recipes`: list the recipes, or write one as JSON."""

from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.table import Table

from hatnet.cli.console import console, print_path
from hatnet.cli.output_files import require_writable
from hatnet.files import write_whole
from hatnet.training.recipe_file import read_recipe, recipe_text
from hatnet.training.recipes import EXPECT, RECIPES, get_recipe


def recipes(name: Annotated[str | None, tyro.conf.Positional] = None, out: Path | None = None) -> None:
    """List the recipes, or print one as JSON. `hatnet train --recipe FILE` reads it.

    Args:
        name: a recipe, or a file or folder of a run that contains one.
        out: file to write it to instead.
    """
    if name is None:
        if out is not None:
            raise ValueError("--out writes one recipe: give its name, too")
        _print_table()
        return
    if out is not None:
        require_writable("--out", out, "recipe.json")
    recipe = read_recipe(Path(name))[0] if name not in RECIPES and Path(name).exists() else get_recipe(name)
    if out is None:
        print(recipe_text(recipe), end="")
    else:
        write_whole(out, recipe_text(recipe).encode())
        print_path(out)


def _print_table() -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("recipe", "data", "network", "epochs", "what to expect"):
        table.add_column(column, justify="right" if column == "epochs" else "left", no_wrap=column == "recipe")
    for name, recipe in RECIPES.items():
        network = f"{recipe.variant}, {recipe.image_size} px"
        table.add_row(name, recipe.data, network, str(recipe.epochs), EXPECT[name])
    console.print(table)
