"""The command `hatnet` and its subcommands. Each is a thin layer over functions that a notebook can call too.

Without a subcommand, for its help, PyTorch is not imported. So this module imports what needs it where it is used.
"""

import ast
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from hatnet.environment import asks_for_help

# Each is the function of this name in the module of this name beside this one.
COMMANDS = (
    "demo", "verify", "summary", "scenes", "recipes", "train", "evaluate", "predict", "export", "attention",
    "faithfulness", "ablation", "scaling", "bench", "docs",
)  # fmt: skip

FORMER_OPTIONS = {"--checkpoint": "--weights", "--pretrained": "--weights"}

Command = Callable[..., None]


def main() -> None:
    """Run `hatnet`. Wrong input ends with a message and exit status 2, not with a traceback."""
    try:
        if asks_for_help(sys.argv[1:]):
            run({name: outline(name) for name in COMMANDS}, sys.argv[1:])
        commands = {name: load(name) for name in COMMANDS}
    except ModuleNotFoundError as error:  # tyro and rich are not in the core install
        sys.exit(f"the command line needs {error.name}: python -m pip install 'hatnet[cli]'")
    except BrokenPipeError:  # as in `hatnet --help | head`; Python flushes stdout once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    from hatnet.cli.errors import errors_as_messages
    from hatnet.cli.recipe_option import command_train

    if not sys.warnoptions:  # PyTorch's warnings are not for users; `python -W default -m hatnet` shows them
        warnings.filterwarnings("ignore", module=r"torch\.")
        warnings.filterwarnings("ignore", message="This DataLoader will create")
    with errors_as_messages():
        words = with_current_options([with_home(word) for word in sys.argv[1:]])
        if words[:1] == ["train"]:
            commands["train"], words = command_train(words[1:])
        run(commands, words)


def load(name: str) -> Command:
    """The function of a command."""
    command: Command = getattr(import_module(f"hatnet.cli.{name}"), name)
    return command


def outline(name: str) -> Command:
    """A function with the docstring of a command, and nothing else. The command's module is read, not imported.

    >>> outline("docs").__doc__ == load("docs").__doc__
    True
    """
    module = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    (function,) = (part for part in module.body if isinstance(part, ast.FunctionDef) and part.name == name)

    def command() -> None: ...

    command.__doc__ = ast.get_docstring(function, clean=False)
    return command


def run(commands: Mapping[str, Command], words: Sequence[str]) -> None:
    """Call the command that the words name, with their options."""
    import tyro

    tyro.extras.subcommand_cli_from_dict(
        dict(commands),
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
