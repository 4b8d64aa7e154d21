"""Evaluate the weights in a file: test them on the images that they are for, and record the result."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatnet.checks import require_whole
from hatnet.config import HATNetConfig
from hatnet.data import DataError, Split, absolute
from hatnet.data.coco import DENSE, open_test_coco
from hatnet.data.image_folder import open_test_folder
from hatnet.data.transforms import require_side
from hatnet.files import absolute_path, json_bytes, write_whole
from hatnet.training.batches import MOST_WORKERS, Batch, batches_for_testing
from hatnet.training.classification import CLASSIFICATION
from hatnet.training.distributed import Processes
from hatnet.training.recipes import RECIPES, Recipe, from_json
from hatnet.training.shared_data import ProgressBar, no_progress_bar, open_shared_data, without_broken_files
from hatnet.training.task import Task
from hatnet.training.tasks import task_of
from hatnet.training.trained_weights import AnySource, drawn_otherwise, find_weights, normalised_as, task_in
from hatnet.weights.source import NO_CHANGES


@dataclass(frozen=True)
class CheckpointEvaluation:
    """The result of weights on a data set."""

    weights: Path
    data: str
    classes: tuple[str, ...]
    evaluation: Any  # what the task's `evaluate` returns
    task: Task = CLASSIFICATION
    changes: tuple[str, ...] = ()  # how the network differs from that of the weights, see `describe_changes`

    def write(self, folder: Path) -> None:
        """Write `evaluation.json` and `evaluation.svg`, each whole or not at all."""
        found = self.evaluation
        facts: dict[str, Any] = {
            "weights": self.weights.name,
            **({"changed": list(self.changes)} if self.changes else {}),
            "data": self.data,
            "images": found.images,
            **{metric.name: metric.value(found) for metric in self.task.metrics},
            **self.task.by_class(found, self.classes).facts,
        }
        write_whole(folder / "evaluation.json", json_bytes(facts))
        self.task.draw(found, self.classes, self.data, folder / "evaluation.svg")


def evaluate_checkpoint(
    weights: Path,
    processes: Processes,
    *,
    data: str | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    batch_size: int | None = None,
    workers: int = 0,
    bar: ProgressBar = no_progress_bar,
    windows: Mapping[str, tuple[int, ...] | None] = NO_CHANGES,
) -> CheckpointEvaluation:
    """Test weights, ours or the authors', on every test image once. Files that cannot be read are named and left out.

    `data` is by default that of the training. Of another folder, all images are tested that `open_test_folder` finds:
    training images need not be there. Lists of broken files are kept in `data_dir`, with the data sets.
    `windows` are changes as for `find_source`. `batch_size` is by default 128, and for a dense task twice the
    training's slices.

    Raises FileNotFoundError or CheckpointError if the weights cannot be read, and DataError if the data is missing or
    damaged, or its classes or sizes do not fit the weights.
    """
    if batch_size is not None:
        require_whole("batch_size", batch_size, 1, 2**20)
    require_whole("workers", workers, 0, MOST_WORKERS)
    source = find_weights(weights, windows)
    data = data or source.about.get("data")
    if data is None:
        raise DataError(
            f"{source.name} doesn't say what it was trained on: give --data, such as --data folder:data/imagenet"
        )
    recipe = recipe_for_testing(source)
    split = _open(data, source, data_dir, download, processes)
    require_suited(source, split)
    split = without_broken_files(split, data_dir, processes, parts=("test",), bar=bar)
    task, model = task_of(recipe), source.model.to(processes.device)
    if recipe.task == "classification":
        require_size(recipe, split, source)
    batches = batches_for_testing(
        split.test, task.for_testing(recipe, normalised_as(split, source.about)), processes.rank, processes.size,
        batch_size or (128 if recipe.task == "classification" else 2 * recipe.slice_size), workers,
        collate=task.collate,
    )  # fmt: skip
    with bar("testing", len(batches)) as step:
        found = task.evaluate(model, _advance(batches, step), processes, split.test)
    return CheckpointEvaluation(weights, split.name, split.classes, found, task, source.changes)


def _open(data: str, source: AnySource, folder: Path, download: bool, processes: Processes) -> Split:
    kind, _, path = data.partition(":")
    task = task_in(source)
    own = absolute(data) == source.about.get("data")  # of the training's own folder, only a part is for the test
    if kind == "folder" and path and task == "classification" and not own:
        return open_test_folder(absolute_path(path))
    if kind == "coco" and path and task in DENSE:
        split = open_test_coco(absolute_path(path), task)
        if split.note and processes.is_first:
            print(split.note, flush=True)
        return split
    return open_shared_data(data, folder, download, processes, task)


def recipe_for_testing(source: AnySource) -> Recipe:
    """The recipe that prepares test images: the training's, or the paper's for photos. Raises DataError for others."""
    config: HATNetConfig = source.model.config
    if "recipe" in source.about:
        try:
            recipe = from_json(source.about["recipe"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{source.name} holds a recipe that cannot be read: {error}") from error
        if recipe.task != task_in(source):
            raise DataError(f"{source.name} holds a model for {task_in(source)}, but its recipe is for {recipe.task}")
        return recipe
    if task_in(source) != "classification" or config.name == "micro" or config.in_channels != 3:
        raise DataError(
            f"{source.name} doesn't say how it was trained, so how to prepare images is unknown: take a file that "
            "hatnet train wrote, or one of a published variant"
        )
    return RECIPES["imagenet"]


def require_suited(source: AnySource, data: Split) -> None:
    """Raise a DataError that names what differs, unless the data has the network's channels and classes, in order,
    and no test images that may have been training images.
    """
    config, name, classes = source.model.config, source.name, source.classes
    if config.num_classes != len(data.classes):
        raise DataError(f"{name} has {config.num_classes} classes, {data.name} has {len(data.classes)}")
    if config.in_channels != data.channels:
        raise DataError(
            f"{name} takes images with {config.in_channels} channels, those of {data.name} have {data.channels}"
        )
    if classes and classes != data.classes:
        raise DataError(
            f"{name} was trained on the classes {', '.join(classes[:10])} ..., "
            f"{data.name} has {', '.join(data.classes[:10])} ..."
        )
    if drawn_otherwise(data, source.about):
        raise DataError(
            f"the images in {data.name} have changed since {name} was trained on it. Its test part is drawn "
            "from all of them, so now it may hold training images: put test images into a "
            "folder val beside a folder train"
        )


def require_size(recipe: Recipe, data: Split, source: AnySource) -> None:
    """Raise a DataError if test images are not resized and one differs in size from the training images."""
    if recipe.crop_padding is not None:
        advice = f"the test takes images as they are, as the training of {source.name} did; store them in that size"
        require_side(data.test, data.name, recipe.image_size, advice)


def _advance(batches: Iterable[Batch], step: Callable[[str], None]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        step("batch")
