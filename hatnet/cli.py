"""The command `hatnet`. Each command is thin: it calls functions that a notebook could call."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch

from hatnet.config import get_config, nearest
from hatnet.device import CPU_ALLOCATOR, out_of_memory, usable_device
from hatnet.equivalence import (
    TOLERANCES,
    Agreement,
    compare_traces,
    first_difference,
    randomise,
    run_model,
    run_reference,
)
from hatnet.network import HATNet, create_model
from hatnet.summary import describe, summarise
from hatnet.training.loop import NonFiniteLossError
from hatnet.training.recipes import RECIPES, get_recipe

try:
    import tyro

    from hatnet.ablation.command import ablation
    from hatnet.attention_maps.command import attention
    from hatnet.attention_maps.picture import read_picture, to_image
    from hatnet.attention_maps.source import find_source
    from hatnet.console import console, print_agreement, print_summary, progress
    from hatnet.faithfulness.command import faithfulness
    from hatnet.scaling.command import scaling
    from hatnet.training.command import evaluate, train
except ModuleNotFoundError as error:  # tyro and rich are not in the core install
    sys.exit(f"the command line needs {error.name}: python -m pip install 'hatnet[cli]'")

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM_WEIGHTS = (
    "The weights are random (fan-in scaled, drawn from a seed): the maps show how hierarchical attention works, "
    "not what a trained network looks at."
)


def demo(out: Path = Path("hatnet-demo.html"), seed: int = 0) -> None:
    """Run HAT-Net Tiny in NumPy and in PyTorch on a photo, compare layer by layer, and draw its attention.

    Args:
        out: where the report goes, one HTML file.
        seed: of the random weights.
    """
    from hatnet.photo import load_photo, normalise
    from hatnet.report import write_report

    if not out.parent.is_dir():
        raise ValueError(f"no folder {out.parent} to write {out.name} to; create it first")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give the report a file name, such as {out / 'hatnet-demo.html'}")
    photo = load_photo()
    console.print(f"HAT-Net Tiny in float64 on a photo of {photo.shape[1]} x {photo.shape[2]} pixels; seconds on a CPU")
    model = random_model("tiny", torch.float64, seed)
    agreements, trace, seconds = run_both(model, normalise(photo))
    print_agreement(agreements, torch.float64, TOLERANCES[torch.float64])
    write_report(
        out,
        photo=photo,
        config=model.config,
        agreements=agreements,
        trace=trace,
        parameters={row.part: row.parameters for row in summarise(model.config)},
        facts={
            "date": date.today().isoformat(),
            "machine": f"{platform.system()} {platform.machine()}, one thread",
            "versions": f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}",
            "precision": "float64 on both sides",
            "seed": str(seed),
            **{f"time, {name}": f"{value:.2f} s" for name, value in seconds.items()},
            "photo": "Chelsea the cat, by Stéfan van der Walt, CC0 1.0",
        },
        tolerance=TOLERANCES[torch.float64],
        weights=RANDOM_WEIGHTS,
    )
    console.print("The report draws the agreement, attention over the photo, and the model's sizes:")
    print(out.resolve())  # plainly, so that a long path is not broken
    if first_difference(agreements, TOLERANCES[torch.float64]):
        sys.exit(1)


def verify(
    variant: str | None = None,
    image: Path | None = None,
    checkpoint: Path | None = None,
    pretrained: str | None = None,
    device: str = "cpu",
    dtype: Literal["float64", "float32", "bfloat16"] = "float64",
    size: int | None = None,
    seed: int = 0,
) -> None:
    """Check PyTorch against the float64 reference, layer by layer; exit status 1 where they disagree.

    Args:
        variant: tiny, small, medium, large or micro; where not given, that of the weights, or tiny.
        image: an image file; the bundled photo where none is given.
        checkpoint: weights of ours (.safetensors, or the folder of a run) or of the authors (.pth).
        pretrained: weights that come with the package, by name, such as fashion-mnist. Without either, they are random.
        device: where PyTorch runs, such as cpu or cuda.
        dtype: what PyTorch computes in; the reference always uses float64.
        size: of the square cut from the image, in pixels; where not given, that of the images it was trained on.
        seed: of the random weights.
    """
    precision: torch.dtype = getattr(torch, dtype)
    target = usable_device(device)
    source = find_source(checkpoint, pretrained, variant, seed)
    config, size = source.model.config, source.image_size if size is None else size
    pixels = to_image(read_picture(image, config.in_channels, size, square=True), source.mean, source.std)
    config.layout(size, size)  # raises where the image is too small
    console.print(f"HAT-Net {config.name.capitalize()} on {size} x {size} pixels, PyTorch in {dtype} on {target}")
    agreements, _, _ = run_both(source.model.to(target, precision), pixels.numpy())
    print_agreement(agreements, precision, TOLERANCES[precision])
    if first_difference(agreements, TOLERANCES[precision]):
        sys.exit(1)


def summary(
    variant: Annotated[str, tyro.conf.Positional], image_size: tuple[int, int] = (224, 224), json: bool = False
) -> None:
    """Print what a variant is and what it costs, stage by stage.

    Args:
        variant: tiny, small, medium, large or micro.
        image_size: height and width in pixels.
        json: print JSON and nothing else.
    """
    config = get_config(variant)
    if json:
        print(dumps(describe(config, *image_size), indent=2))
    else:
        print_summary(config, *image_size)


def docs(folder: Path = Path("site"), serve: bool = True, port: int = 8000, again: bool = False) -> None:
    """Build the documentation, tutorials run, and serve it on this machine.

    Args:
        folder: where the site goes; it is emptied first.
        serve: whether to serve what was built, until interrupted.
        port: of the server.
        again: whether to run every tutorial, changed or not.
    """
    from hatnet.site.build import build, checkout, server

    if not serve:
        build(checkout(), folder, again)
        return
    with server(folder, port) as running:  # first, since a port that is taken should not cost a build
        build(checkout(), folder, again)
        print(f"http://127.0.0.1:{running.server_port}/  (Ctrl+C ends it)", flush=True)
        running.serve_forever()


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


def random_model(variant: str, dtype: torch.dtype, seed: int) -> HATNet:
    """A variant with the random weights of `randomise`, in evaluation mode."""
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    model = create_model(variant)
    randomise(model, seed)
    return model.to(dtype).eval()


def run_both(
    model: HATNet, pixels: NDArray[np.float64]
) -> tuple[list[Agreement], dict[str, NDArray[np.float64]], dict[str, float]]:
    """Both traces under progress bars: the comparison, the reference's trace, and the seconds each took."""
    torch.set_num_threads(1)  # on a busy machine waiting threads cost seconds, on an idle one they save tenths
    images = torch.from_numpy(pixels)[None].to(next(model.parameters()).dtype)  # both see the same rounded pixels
    start = time.perf_counter()
    with progress("PyTorch") as step:
        got = run_model(model, images, step)
    middle = time.perf_counter()
    with progress("NumPy reference", total=len(got)) as step:
        want = run_reference(model, images[0].double().numpy(), step)
    seconds = {"PyTorch": middle - start, "NumPy reference": time.perf_counter() - middle}
    return list(compare_traces(got, [want])), want, seconds
