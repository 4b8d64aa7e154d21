"""Trained weights that ship with the package, by variant and training data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.config import nearest
from hatnet.files import expand_home
from hatnet.network import HATNet
from hatnet.weights.checkpoints import load
from hatnet.weights.windows import change_windows

ASSETS = Path(__file__).parents[1] / "assets"
PRETRAINED = {("micro", "fashion-mnist"): ASSETS / "micro-fashion-mnist.safetensors"}


def pretrained_file(variant: str, data: str) -> Path:
    """The file of a variant's weights, such as `micro` trained on `fashion-mnist`; ValueError if none ship."""
    require_type("pretrained", data, str, "a text, the name of trained weights")
    known = [known_data for known_variant, known_data in PRETRAINED if known_variant == variant]
    if data not in known:
        weights = ", ".join(f"{variant} on {data}" for variant, data in PRETRAINED)
        raise ValueError(f"no weights of {variant!r} trained on {data!r}{nearest(data, known)}; there are: {weights}")
    return PRETRAINED[variant, data]


def weights_file(given: str | Path) -> Path:
    """The file that `given` means: the name of weights that ship with the package, a file, or the folder of a run.

    A run's folder gives the weights of its last epoch, and `~` is the home folder. A file or folder that has the name
    of such weights is given as `./NAME`, or as a `Path`.

    >>> weights_file("fashion-mnist").name
    'micro-fashion-mnist.safetensors'
    """
    require_type("weights", given, (str, Path), "a text or a path")
    for (_, data), file in PRETRAINED.items():
        if given == data:
            return file
    path = expand_home(given)
    return path / "last.safetensors" if path.is_dir() else path


def existing_weights(given: str | Path) -> Path:
    """`weights_file`; FileNotFoundError, with the names of weights that ship, if there is no such file."""
    file = weights_file(given)
    if not file.is_file():
        names = [data for _, data in PRETRAINED]
        advice = f"{nearest(str(given), names)}; weights that come with the package: {', '.join(names)}"
        raise FileNotFoundError(f"no checkpoint file at {file}{advice}")
    return file


def load_pretrained(variant: str, data: str, changes: Mapping[str, Any]) -> HATNet:
    """A variant trained on `data`, in evaluation mode; `changes` and errors as in `change_windows`."""
    trained = load(pretrained_file(variant, data))
    return change_windows(trained, f"the weights of {variant} trained on {data}", **changes)
