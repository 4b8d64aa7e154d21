"""`hatnet predict` with weights of dense tasks: the classes of pixels, or objects."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from hatnet.cli.console import console, plain, print_path, progress
from hatnet.cli.output_files import readable_json
from hatnet.cli.predict_options import SHOWN, DenseOptions
from hatnet.cli.weights import WindowOptions
from hatnet.dense.coco_results import coco_results
from hatnet.dense.predicting import DenseSettings, Objects, Segmentation, predict_files
from hatnet.dense.source import DenseSource, find_dense
from hatnet.files import write_whole
from hatnet.maps.prediction import DEFAULTS, Settings, percent

Found = Segmentation | Objects


@dataclass(frozen=True)
class Results:
    """The facts of all images, the first ones to draw, and the reason for each file that could not be read."""

    images: list[dict[str, Any]]  # as COCO describes images
    annotations: list[dict[str, Any]]  # as COCO describes results
    rows: list[tuple[str, ...]]  # of the table
    drawn: list[Found]
    unreadable: dict[Path, str]


def predict_dense(
    paths: list[Path],
    weights: str,
    files: list[Path],
    settings: Settings,
    options: DenseOptions,
    windows: WindowOptions,
) -> dict[Path, str]:
    """Predict, print a table and write the files. Return the files that cannot be read."""
    source = find_dense(weights, windows.changes)
    _require_fitting(source, settings, options)
    _require_pycocotools(source, files)
    for line in (*source.changes, source.words):
        console.print(plain(line))
    score = DenseSettings.score if options.score is None else options.score
    results = _predict(
        paths, source, DenseSettings(score, options.image_size, settings.background, settings.device), settings.maps
    )
    _print_table(results, source, score, settings.maps)
    for path in files:
        _write(path, results, source)
        print_path(path)
    return results.unreadable


def _require_fitting(source: DenseSource, settings: Settings, options: DenseOptions) -> None:
    """Raise a ValueError for an option that these weights have no use for."""
    for name in ("top", "memory"):
        if getattr(settings, name) != getattr(DEFAULTS, name):
            raise ValueError(f"--{name} is for weights that predict one class per image; these are for {source.task}")
    if options.score is not None and source.task == "segmentation":
        raise ValueError("--score is for weights that find objects; these give a class to every pixel")


def _require_pycocotools(source: DenseSource, files: list[Path]) -> None:
    writes_masks = source.task != "detection" and any(path.suffix.lower() == ".json" for path in files)
    if writes_masks and find_spec("pycocotools") is None:
        raise ValueError(
            "masks in a JSON file need pycocotools: python -m pip install 'hatnet[dense]'; or write a figure alone, "
            "with --out NAME.png"
        )


def _predict(paths: list[Path], source: DenseSource, settings: DenseSettings, maps: int) -> Results:
    results = Results([], [], [], [], {})
    with progress("predicting", total=len(paths)) as step:

        def unreadable(path: Path, reason: str) -> None:
            results.unreadable[path] = reason
            step(path.name)

        for found in predict_files(paths, source, settings, unreadable):
            _add(results, found, source)
            if len(results.drawn) < maps:
                results.drawn.append(found.compact())
            step(found.image.name)
    if not results.images:
        first = next(iter(results.unreadable.values()))
        raise ValueError(f"none of {len(paths)} files can be read as an image; the first: {first}")
    return results


def _add(results: Results, found: Found, source: DenseSource) -> None:
    """Add the facts of one image. Masks are encoded at once, since those of many images would fill the memory."""
    number = len(results.images) + 1
    height, width = found.labels.shape if isinstance(found, Segmentation) else found.size
    results.images.append({"id": number, "file_name": str(found.image), "width": width, "height": height})
    if find_spec("pycocotools") is not None or source.task == "detection":
        for entry in coco_results(found, number):
            results.annotations.append({"id": len(results.annotations) + 1, **entry, "iscrowd": 0})
    rows = _rows(found)
    results.rows.extend((image, *row) for image, row in zip([str(found.image), *[""] * len(rows)], rows, strict=False))


def _rows(found: Found) -> list[tuple[str, ...]]:
    """The rows of the table for one image, without its name."""
    if isinstance(found, Segmentation):
        return [(found.names[label], percent(share)) for label, share in found.shares.items()]
    objects = zip(found.names, found.scores, found.boxes.tolist(), strict=True)
    return [
        (name, f"{score:.2f}", f"{x1:.0f}, {y1:.0f}, {x2 - x1:.0f}, {y2 - y1:.0f}")
        for name, score, (x1, y1, x2, y2) in objects
    ] or [("-", "-", "-")]


def class_names(source: DenseSource) -> dict[int, str]:
    """The names of all classes by number: from 0 for pixels, from 1 for objects."""
    first = 0 if source.task == "segmentation" else 1
    names = source.classes or [str(first + place) for place in range(source.model.config.num_classes)]
    return dict(enumerate(names, start=first))


def _print_table(results: Results, source: DenseSource, score: float, maps: int) -> None:
    segmentation = source.task == "segmentation"
    last = ("% of the pixels",) if segmentation else ("score", "x, y, width, height")
    table = Table(
        title="Classes of the pixels" if segmentation else f"Objects with a score of at least {score:g}",
        box=box.SIMPLE_HEAD,
    )
    for column in ("image", "class", *last):
        table.add_column(column, justify="right" if column in last else "left", overflow="fold")
    for row in results.rows[:SHOWN]:
        table.add_row(*map(plain, row))
    console.print(table)
    if len(results.rows) > SHOWN:
        console.print(f"The table shows {SHOWN} of {len(results.rows):,} rows. The JSON file has all of them.")
    if len(results.images) > maps:
        console.print(f"The first {maps} of {len(results.images):,} images are drawn; --maps sets how many.")


def _write(path: Path, results: Results, source: DenseSource) -> None:
    """Write COCO's format to a path that ends in .json, the figure to any other."""
    names = class_names(source)
    if path.suffix.lower() == ".json":
        facts = {
            "info": {
                "network": source.model.config.name,
                "task": source.task,
                "weights": source.words,
                "changed": list(source.changes),
                "unreadable": [{"image": str(each), "reason": reason} for each, reason in results.unreadable.items()],
            },
            "categories": [{"id": number, "name": name} for number, name in names.items()],
            "images": results.images,
            "annotations": results.annotations,
        }
        write_whole(path, readable_json(facts))
        return
    from hatnet.maps.dense_figure import draw_dense
    from hatnet.maps.figure import save

    save(draw_dense(results.drawn, source.words, names), path)
