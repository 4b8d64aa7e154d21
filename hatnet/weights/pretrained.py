"""Trained weights that ship with the package, by variant and training data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.config import nearest
from hatnet.files import expand_home
from hatnet.network import HATNet
from hatnet.weights.checkpoints import about, load
from hatnet.weights.windows import change_windows

ASSETS = Path(__file__).parents[1] / "assets"
NAMES = ("fashion-mnist", "scenes-segmentation", "scenes-instances")
PRETRAINED = {("micro", name): ASSETS / f"micro-{name}.safetensors" for name in NAMES}
SHIPPED = {data: file for (_, data), file in PRETRAINED.items()}  # by the name that `weights_file` takes


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

    A run's folder gives its result: the best weights if validation images chose them, else those of the last epoch,
    since the test images chose the best. `~` is the home folder. A file or folder that has the name of such weights is
    given as `./NAME`, or as a `Path`.

    >>> weights_file("fashion-mnist").name
    'micro-fashion-mnist.safetensors'
    """
    require_type("weights", given, (str, Path), "a text or a path")
    if given in SHIPPED:
        return SHIPPED[str(given)]
    path = expand_home(given)
    return _result_of(path) if path.is_dir() else path


def _result_of(run: Path) -> Path:
    best = run / "best.safetensors"
    validated = best.is_file() and any(name.startswith("validation_") for name in about(best))
    return best if validated else run / "last.safetensors"


def existing_weights(given: str | Path) -> Path:
    """`weights_file`; FileNotFoundError, with the names of weights that ship, if there is no such file."""
    file = weights_file(given)
    if not file.is_file():
        advice = f"{nearest(str(given), SHIPPED)}; weights that come with the package: {', '.join(SHIPPED)}"
        if str(given) in SHIPPED:
            advice = "; weights that come with the package have this name: give it as a text, not as a Path"
        raise FileNotFoundError(f"no checkpoint file at {file}{advice}")
    return file


def load_pretrained(variant: str, data: str, changes: Mapping[str, Any]) -> HATNet:
    """A variant trained on `data`, in evaluation mode; `changes` and errors as in `change_windows`."""
    trained = load(pretrained_file(variant, data))
    return change_windows(trained, f"the weights of {variant} trained on {data}", **changes)
