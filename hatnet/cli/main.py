"""The command `hatnet` and its subcommands. Each is a thin layer over functions that a notebook can call too."""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

from hatnet.config import nearest
from hatnet.training.recipes import RECIPES, get_recipe

try:
    import tyro

    from hatnet.cli.ablation import ablation
    from hatnet.cli.attention import attention
    from hatnet.cli.demo import demo
    from hatnet.cli.docs import docs
    from hatnet.cli.errors import errors_as_messages
    from hatnet.cli.evaluate import evaluate
    from hatnet.cli.faithfulness import faithfulness
    from hatnet.cli.predict import predict
    from hatnet.cli.scaling import scaling
    from hatnet.cli.summary import summary
    from hatnet.cli.train import train
    from hatnet.cli.verify import verify
except ModuleNotFoundError as error:  # tyro and rich are not in the core install
    sys.exit(f"the command line needs {error.name}: python -m pip install 'hatnet[cli]'")


COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command
    for command in (demo, verify, summary, train, evaluate, predict, attention, faithfulness, ablation, scaling, docs)
}

FORMER_OPTIONS = {"--checkpoint": "--weights", "--pretrained": "--weights"}


def main() -> None:
    """Run `hatnet`. Wrong input ends with a message and exit status 2, not with a traceback."""
    with errors_as_messages():
        words = with_current_options(sys.argv[1:])
        if words[:1] == ["train"]:
            _require_recipe(words[1:])
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            args=words,
            prog="hatnet",
            description="Vision Transformers with Hierarchical Attention.",
            config=(tyro.conf.CascadeSubcommandArgs,),  # options in any order after the last subcommand
        )


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


def _require_recipe(words: Sequence[str]) -> None:
    """Raise a ValueError that names the nearest recipe; tyro would complain about misplaced options instead."""
    if words and not words[0].startswith("-"):
        get_recipe(words[0])
    elif not RECIPES.keys() & set(words):
        for option, word in pairwise(words):
            if not (option.startswith("-") or word.startswith("-")) and nearest(word, RECIPES):
                get_recipe(word)
