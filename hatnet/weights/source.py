"""Find the network for a command: with weights from a file or from the package, or with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.config import get_config
from hatnet.data.photo import MEAN, STD
from hatnet.equivalence import randomise
from hatnet.network import HATNet
from hatnet.weights.checkpoints import is_ours, load_with_facts
from hatnet.weights.official import load_official
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.windows import change_windows, describe_changes

NO_CHANGES: Mapping[str, tuple[int, ...] | None] = {}


class Described:
    """What files of every task describe. Data classes below set the attributes."""

    about: dict[str, Any]
    file: Path | None

    @property
    def name(self) -> str:
        """The file, for messages."""
        return "the network" if self.file is None else str(self.file)

    @property
    def origin(self) -> dict[str, Any]:
        """Description of these weights, recorded by a training that starts from them. Never empty."""
        return self.about or {"file": "" if self.file is None else self.file.name}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty if unknown."""
        return tuple(self.about.get("classes", ()))


@dataclass(frozen=True)
class Source(Described):
    """A network, the origin of its weights, the normalisation of its images, and the names of its classes."""

    model: HATNet
    words: str  # the origin of its weights, in one or two sentences
    about: dict[str, Any] = field(default_factory=dict)  # facts stored with the weights, see `checkpoints.about`
    changes: tuple[str, ...] = ()  # one line per field of the configuration that differs from the weights' own
    file: Path | None = None  # None for random weights

    @property
    def image_size(self) -> int:
        """The side of its training images in pixels; if unknown, 64 for micro and 224 for the others."""
        return int(self.about.get("image_size", 64 if self.model.config.name == "micro" else 224))

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean to subtract from pixels in [0, 1]; if unknown, ImageNet's for RGB and 0.5 for others."""
        return tuple(self.about.get("mean", MEAN if self.model.config.in_channels == 3 else (0.5,)))

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation to divide them by; if unknown, ImageNet's for RGB and 0.5 for others."""
        return tuple(self.about.get("std", STD if self.model.config.in_channels == 3 else (0.5,)))


def find_source(
    weights: str | Path | None = None,
    variant: str | None = None,
    seed: int = 0,
    windows: Mapping[str, tuple[int, ...] | None] = NO_CHANGES,
) -> Source:
    """The network of `weights`: a name, a file or a folder, as in `weights_file`. None gives random weights.

    A file is ours (.safetensors) or the authors' (.pth). `variant` is by default that of the weights, or tiny. Only
    random weights use the `seed`. `windows` are changes for `change_windows`; None keeps the value of the weights.
    Raises FileNotFoundError, or ValueError if the file cannot be read or the variant is not that of the weights.
    """
    require_type("windows", windows, Mapping, "a table of windows by name, such as {'grid_sizes': (8, 4)}")
    if variant is not None:
        get_config(variant)  # raises for an unknown one
    source = _random(variant or "tiny", seed) if weights is None else _from_file(existing_weights(weights))
    if variant not in (None, source.model.config.name):
        raise ValueError(f"{weights} holds {source.model.config.name!r}, not {variant!r}; leave --variant out")
    changes: dict[str, Any] = {name: value for name, value in windows.items() if value is not None}
    changed = change_windows(source.model, source.name, **changes)
    owner = "the variant's" if weights is None else "the weights'"
    return replace(source, model=changed, changes=tuple(describe_changes(source.model.config, changed.config, owner)))


def _random(variant: str, seed: int) -> Source:
    model = HATNet(get_config(variant))
    randomise(model, seed)
    words = f"Random weights (seed {seed}): these maps show how hierarchical attention works, not learnt attention."
    return Source(model.eval(), words)


def _from_file(checkpoint: Path) -> Source:
    if not is_ours(checkpoint):
        model, known = load_official(checkpoint).float(), {}
        if model.config.in_channels == 3:
            known = {"mean": MEAN.tolist(), "std": STD.tolist()}  # the authors normalise photos as for ImageNet
        return Source(model, f"Weights of the authors' file {checkpoint.name}.", known, file=checkpoint)
    model, known = load_with_facts(checkpoint)
    return Source(model.float(), words_of(checkpoint, known), known, file=checkpoint)


def words_of(checkpoint: Path, known: Mapping[str, Any]) -> str:
    """The origin of the weights in a file of `save`, in a sentence, and the limits that their card states."""
    training = f"trained on {known['data']}" if "data" in known else "without a record of their training"
    if "data" in known:
        training += "".join(words.format(known[fact]) for fact, words in FIGURES.items() if fact in known)
    limits = known.get("card", {}).get("limits", "")
    return f"Weights of {checkpoint.name}, {training}. {limits}".rstrip()


FIGURES = {  # the fact that holds the result of a training, and words for it
    "test_accuracy": ": right on {:.1%} of its test images",
    "test_mean_IoU": ": mean IoU {:.1%} on its test images",
    "test_mask_AP50": ": AP50 of masks {:.1%} on its test images",
}
