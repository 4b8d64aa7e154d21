"""The command `hatnet`: its subcommands, and how errors end. Each calls functions that a notebook could call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

from hatnet.config import nearest
from hatnet.device import CPU_ALLOCATOR, out_of_memory
from hatnet.training.loop import NonFiniteLossError
from hatnet.training.recipes import RECIPES, get_recipe

try:
    import tyro

    from hatnet.cli.ablation import ablation
    from hatnet.cli.attention import attention
    from hatnet.cli.demo import demo
    from hatnet.cli.docs import docs
    from hatnet.cli.evaluate import evaluate
    from hatnet.cli.faithfulness import faithfulness
    from hatnet.cli.scaling import scaling
    from hatnet.cli.summary import summary
    from hatnet.cli.train import train
    from hatnet.cli.verify import verify
except ModuleNotFoundError as error:  # tyro and rich are not in the core install
    sys.exit(f"the command line needs {error.name}: python -m pip install 'hatnet[cli]'")


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "verify": verify,
    "summary": summary,
    "train": train,
    "evaluate": evaluate,
    "attention": attention,
    "faithfulness": faithfulness,
    "ablation": ablation,
    "scaling": scaling,
    "docs": docs,
}


def main() -> None:
    """Entry point of `hatnet`; wrong input ends with a message and exit status 2, not with a traceback."""
    try:
        if sys.argv[1:2] == ["train"]:
            _require_recipe(sys.argv[2:])
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="hatnet",
            description="Vision Transformers with Hierarchical Attention.",
            config=(tyro.conf.CascadeSubcommandArgs,),  # options in any order after the last subcommand
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(
            f"error: not enough memory{f': {error}' if str(error) else ''}; smaller images take less", file=sys.stderr
        )
        sys.exit(2)
    except NonFiniteLossError as error:
        print(f"stopped: {error}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        cause = str(error).partition("\n")[0].rpartition(CPU_ALLOCATOR)[2]
        print(
            f"error: {cause}\nHalve --slice-size (train: the step's gradient stays what it was) or --batch-size "
            "(evaluate). Then try smaller images, or another --device",
            file=sys.stderr,
        )
        sys.exit(2)
    except ModuleNotFoundError as error:  # imported where it is used, so that commands without it do without
        print(f"error: this command needs {error.name}: python -m pip install 'hatnet[train]'", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _require_recipe(words: Sequence[str]) -> None:
    """Name the nearest recipe to one that is not known, where tyro would speak of misplaced options."""
    if words and not words[0].startswith("-"):
        get_recipe(words[0])
    elif not RECIPES.keys() & set(words):
        for option, word in pairwise(words):
            if not (option.startswith("-") or word.startswith("-")) and nearest(word, RECIPES):
                get_recipe(word)
