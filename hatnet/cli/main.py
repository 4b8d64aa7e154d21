"""The command `hatnet` and its subcommands. Each is a thin layer over functions that a notebook can call too."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from hatnet.config import nearest
from hatnet.device import use_threads
from hatnet.training.recipe_file import read_recipe
from hatnet.training.recipes import RECIPES, get_recipe

try:
    import tyro

    from hatnet.cli.ablation import ablation
    from hatnet.cli.attention import attention
    from hatnet.cli.bench import bench
    from hatnet.cli.demo import demo
    from hatnet.cli.docs import docs
    from hatnet.cli.errors import errors_as_messages
    from hatnet.cli.evaluate import evaluate
    from hatnet.cli.export import export
    from hatnet.cli.faithfulness import faithfulness
    from hatnet.cli.predict import predict
    from hatnet.cli.recipes import recipes
    from hatnet.cli.scaling import scaling
    from hatnet.cli.summary import summary
    from hatnet.cli.train import start_from, train
    from hatnet.cli.verify import verify
except ModuleNotFoundError as error:  # tyro and rich are not in the core install
    sys.exit(f"the command line needs {error.name}: python -m pip install 'hatnet[cli]'")


COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command
    for command in (
        demo, verify, summary, recipes, train, evaluate, predict, export, attention, faithfulness, ablation, scaling,
        bench, docs,
    )
}  # fmt: skip

FORMER_OPTIONS = {"--checkpoint": "--weights", "--pretrained": "--weights"}


def main() -> None:
    """Run `hatnet`. Wrong input ends with a message and exit status 2, not with a traceback."""
    if not sys.warnoptions:  # PyTorch's warnings are not for users; `python -W default -m hatnet` shows them
        warnings.filterwarnings("ignore", module=r"torch\.")
        warnings.filterwarnings("ignore", message="This DataLoader will create")
    with errors_as_messages():
        commands, words = COMMANDS, with_current_options([with_home(word) for word in sys.argv[1:]])
        if words[:1] == ["train"]:
            command, words = _command_train(words[1:])
            commands = commands | {"train": command}
        tyro.extras.subcommand_cli_from_dict(
            commands,
            args=words,
            prog="hatnet",
            description="Vision Transformers with Hierarchical Attention.",
            config=(tyro.conf.CascadeSubcommandArgs,),  # options in any order after the last subcommand
        )


def with_home(word: str) -> str:
    """Expand `~` at the start of a word or of the value in `--option=~/value`, which shells leave as it is.

    >>> with_home("--out=~/figure") == f"--out={os.path.expanduser('~')}/figure"
    True
    """
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + os.path.expanduser(value)  # noqa: PTH111  pathlib would raise for an unknown user


def with_current_options(words: Sequence[str]) -> list[str]:
    """Replace former names of options, so that older commands work. ValueError if weights are given twice.

    >>> with_current_options(["verify", "--checkpoint=tiny.pth"])
    ['verify', '--weights=tiny.pth']
    """
    current, given = list(words), []
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in FORMER_OPTIONS or option in FORMER_OPTIONS.values():
            given.append(option)
            current[index] = FORMER_OPTIONS.get(option, option) + equals + value
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} all choose the weights; give --weights once")
    return current


def _command_train(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
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
