"""The recipe of `hatnet train`: a name, or `--recipe FILE`."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from hatnet.cli.train import start_from, train
from hatnet.config import nearest
from hatnet.device import use_threads
from hatnet.training.recipe_file import read_recipe
from hatnet.training.recipes import RECIPES, get_recipe


def command_train(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """The command `train`, and the words to parse: without `--recipe FILE`, whose recipe then gives the defaults.

    The recipe of a run also gives the number of threads, as another number rounds differently.
    """
    if "--seed" in words and "--seeds" in words:
        raise ValueError("give --seed or --seeds, not both")
    files, others = _take_option("--recipe", words)
    if not files:
        _require_recipe(words)
        return train, ["train", *words]
    if len(files) > 1 or RECIPES.keys() & set(others[:1]):
        raise ValueError("give one recipe: either a name or --recipe FILE, once")
    recipe, threads = read_recipe(Path(files[0]))
    use_threads(threads)
    return start_from(recipe), ["train", *others]


def _take_option(name: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of an option, and the other words. Raises ValueError if a value is missing.

    >>> _take_option("--recipe", ["--lr", "1", "--recipe", "a.json", "--recipe=b.json"])
    (['a.json', 'b.json'], ['--lr', '1'])
    """
    values, others, rest = [], [], iter(words)
    for word in rest:
        if word == name:
            value = next(rest, "")
            if not value or value.startswith("-"):
                raise ValueError(f"{name} needs a file, or the folder of a run")
            values.append(value)
        elif word.startswith(f"{name}="):
            values.append(word.removeprefix(f"{name}="))
        else:
            others.append(word)
    return values, others


def _require_recipe(words: Sequence[str]) -> None:
    """Raise a ValueError that names the nearest recipe; tyro would complain about misplaced options instead."""
    if words and not words[0].startswith("-"):
        get_recipe(words[0])
    elif not RECIPES.keys() & set(words):
        for option, word in pairwise(words):
            if not (option.startswith("-") or word.startswith("-")) and nearest(word, RECIPES):
                get_recipe(word)
