"""The command `hatnet predict`: the classes of image files, with class maps (extras `cli` and `train`)."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.table import Table

from hatnet.checks import require_whole
from hatnet.cli.console import console, plain, print_path, printable, progress
from hatnet.cli.output_files import Formats, output_files, readable_json
from hatnet.cli.predict_options import NOT_GIVEN, SHOWN, DenseOptions
from hatnet.cli.weights import WEIGHTS_OWN, Windows, open_source
from hatnet.data.image_list import find_images
from hatnet.files import write_whole
from hatnet.maps.prediction import DEFAULTS, Prediction, Settings, percent, predict_files
from hatnet.weights.checkpoints import holds_task
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import Source

JSON = Formats(".json", "the numbers", "predictions")
LARGEST_FIGURE = 200  # images


@dataclass(frozen=True)
class Results:
    """All predictions, and the reason for each file that could not be read."""

    predictions: list[Prediction]  # class maps and pictures only for the first
    unreadable: dict[Path, str]


def predict(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    weights: str | None = None,
    out: Path | None = None,
    settings: Annotated[Settings, tyro.conf.arg(name="")] = DEFAULTS,
    dense: Annotated[DenseOptions, tyro.conf.arg(name="")] = NOT_GIVEN,
    windows: Windows = WEIGHTS_OWN,
) -> None:
    """Predict what is in images, as the weights were trained to: their classes, the class of each pixel, or objects.

    Each image is drawn beside its class map (the places that speak for its class), the classes of its pixels, or its
    objects. Images are prepared as in hatnet evaluate, with two exceptions: a network for classes of images gets the
    square in the middle of images of other sizes, and images that a detector reduces are smoothed. The exit status is 1
    if some images cannot be read.

    Args:
        images: image files, and folders, of which all images are used.
        weights: fashion-mnist (ten kinds of clothes, small and grey), scenes-segmentation or scenes-instances (five
            kinds of clothes in composed scenes), which come with the package; a file of hatnet train (.safetensors) or
            of the authors (.pth), or the folder of a run.
        out: the files to write. Without a suffix, .png, .svg and .json are added; with a suffix, only that file
            is written. The default is IMAGE-prediction for one image, predictions for several.
        settings: classes, maps, memory and device.
        dense: scores of objects, and the size of images.
        windows: G1, G2 and strides.
    """
    if weights is None:
        raise ValueError(
            "give --weights: fashion-mnist (comes with the package; it knows ten kinds of clothes, in small grey "
            "pictures on black, and nothing else), scenes-segmentation or scenes-instances (in the package, too; five "
            "kinds of clothes in composed scenes), a file of hatnet train, or the folder of a run"
        )
    require_whole("maps", settings.maps, 1, LARGEST_FIGURE)
    paths = find_images(images)
    out = out or Path(f"{paths[0].stem}-prediction" if len(paths) == 1 else "predictions")
    files = output_files(out, JSON, inputs=(*paths, existing_weights(weights)))
    if holds_task(existing_weights(weights)) in (None, "classification"):
        unreadable = _predict_classes(paths, weights, files, settings, dense, windows)
    else:
        from hatnet.cli.predict_dense import predict_dense

        unreadable = predict_dense(paths, weights, files, settings, dense, windows)
    for path, reason in unreadable.items():
        print(f"left out: {printable(reason if str(path) in reason else f'{path}: {reason}')}", file=sys.stderr)
    if unreadable:
        sys.exit(1)


def _predict_classes(
    paths: list[Path], weights: str, files: list[Path], settings: Settings, dense: DenseOptions, windows: Windows
) -> dict[Path, str]:
    """Predict the classes of images, print a table and write the files. Return the files that cannot be read."""
    if dense != NOT_GIVEN:
        raise ValueError(
            "--score and --image-size are for weights of segmentation, detection or instances; these weights predict "
            "one class per image, of the size in training"
        )
    source = open_source(weights, windows)
    console.print(plain(source.words))
    results = _predict(paths, source, settings)
    _print_table(results, settings)
    for path in files:
        _write(path, results, source)
        print_path(path)
    return results.unreadable


def _predict(paths: list[Path], source: Source, settings: Settings) -> Results:
    results = Results([], {})
    with progress("predicting", total=len(paths)) as step:

        def unreadable(path: Path, reason: str) -> None:
            results.unreadable[path] = reason
            step(path.name)

        for prediction in predict_files(paths, source, settings, unreadable):
            results.predictions.append(prediction)
            step(prediction.image.name)
    if not results.predictions:
        first = next(iter(results.unreadable.values()))
        raise ValueError(f"none of {len(paths)} files can be read as an image; the first: {first}")
    return results


def _print_table(results: Results, settings: Settings) -> None:
    table = Table(title="Predictions", box=box.SIMPLE_HEAD)
    for column in ("image", "class", "probability", "next"):
        table.add_column(column, justify="right" if column == "probability" else "left", overflow="fold")
    for found in results.predictions[:SHOWN]:
        following = zip(found.classes[1:], found.probabilities[1:], strict=True)
        others = ", ".join(f"{name} {percent(probability)}" for name, probability in following)
        table.add_row(plain(str(found.image)), plain(found.best), percent(found.probabilities[0]), plain(others))
    console.print(table)
    count = len(results.predictions)
    if count > SHOWN:
        console.print(f"The table shows {SHOWN} of {count:,} images. The JSON file has all of them.")
    if count > settings.maps:
        console.print(f"The first {settings.maps} of {count:,} images have a class map; --maps sets how many.")
    plains = sum(found.picture is not None and found.class_map is None for found in results.predictions)
    if plains:
        console.print(f"{plains} without a class map: the gradients are not finite, as for an image of one colour.")


def _write(path: Path, results: Results, source: Source) -> None:
    """Write the numbers to a path that ends in .json, the figure to any other."""
    if path.suffix.lower() == ".json":
        write_whole(path, readable_json(_facts(results, source)))
        return
    from hatnet.maps.figure import save
    from hatnet.maps.prediction_figure import draw_predictions

    shown = [found for found in results.predictions if found.picture is not None]
    save(draw_predictions(shown, source.words), path)


def _facts(results: Results, source: Source) -> dict[str, Any]:
    return {
        "network": source.model.config.name,
        "weights": source.words,
        "changed": list(source.changes),
        "predictions": [
            {
                "image": str(found.image),
                "class": found.best,
                "probability": found.probabilities[0],
                "top": [
                    {"class": name, "label": label, "probability": probability}
                    for name, label, probability in zip(found.classes, found.labels, found.probabilities, strict=True)
                ],
                "class map": None if found.class_map is None else found.class_map.round(6).tolist(),
            }
            for found in results.predictions
        ],
        "unreadable": [{"image": str(path), "reason": reason} for path, reason in results.unreadable.items()],
    }
