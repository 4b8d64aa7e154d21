"""Find the dense model for a command: with weights from a file, the folder of a training, or the package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.dense.files import Model, change_dense_windows, load_dense
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import NO_CHANGES, Described, words_of
from hatnet.weights.windows import describe_changes


@dataclass(frozen=True)
class DenseSource(Described):
    """A dense model, the origin of its weights, and the names of its classes: `weights.source.Source` for dense tasks.

    The model is in float32 and in evaluation mode. It normalises images itself.
    """

    model: Model
    words: str  # the origin of its weights, in one or two sentences
    about: dict[str, Any] = field(default_factory=dict)  # facts stored with the weights, see `checkpoints.about`
    changes: tuple[str, ...] = ()  # one line per field of the configuration that differs from the weights' own
    file: Path | None = None

    @property
    def task(self) -> str:
        """The task, as in `create_model`."""
        return self.model.task

    @property
    def image_size(self) -> int | None:
        """The shorter side of its training images in pixels; None if unknown."""
        return int(self.about["image_size"]) if "image_size" in self.about else None


def find_dense(weights: str | Path, windows: Mapping[str, tuple[int, ...] | None] = NO_CHANGES) -> DenseSource:
    """The dense model of `weights`: a name, a file or a folder, as in `weights_file`; errors as in `hatnet.load`.

    `windows` are changes for `change_windows`; None keeps the value of the weights.
    """
    require_type("windows", windows, Mapping, "a table of windows by name, such as {'grid_sizes': (8, 4)}")
    file = existing_weights(weights)
    model, known = load_dense(file)
    changes: dict[str, Any] = {name: value for name, value in windows.items() if value is not None}
    changed = change_dense_windows(model.float(), str(file), **changes)
    lines = tuple(describe_changes(model.config, changed.config, "the weights'"))
    return DenseSource(changed, words_of(file, known), known, lines, file)
