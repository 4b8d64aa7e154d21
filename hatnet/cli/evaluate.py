"""The command `hatnet evaluate`: test weights on every test image once."""

from math import isnan
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.table import Table

from hatnet.cli.console import console, plain, print_path, progress
from hatnet.cli.output_files import require_writable
from hatnet.cli.weights import WEIGHTS_OWN, Windows
from hatnet.device import default_device, use_threads
from hatnet.training.checkpoint_evaluation import CheckpointEvaluation, evaluate_checkpoint
from hatnet.training.distributed import join
from hatnet.training.shared_data import no_progress_bar
from hatnet.weights.pretrained import SHIPPED, existing_weights


def evaluate(
    weights: Annotated[str, tyro.conf.Positional],
    data: str | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    threads: int | None = None,
    out: Path | None = None,
    windows: Windows = WEIGHTS_OWN,
) -> None:
    """Test weights on every test image once, and draw the result of each class.

    Args:
        weights: fashion-mnist, scenes-segmentation or scenes-instances (in the package), a file of hatnet train
            (.safetensors) or of the authors (.pth), or the folder of a run.
        data: a data set, folder:PATH, coco:PATH or ade20k:PATH; by default the training's.
        data_dir: folder for data sets.
        download: fetch the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; by default the GPU if there is one, else the CPU.
        batch_size: images at once; by default 128, and for a dense task twice the training's slices.
        workers: processes that prepare images.
        threads: threads of PyTorch on a CPU.
        out: folder for evaluation.json and evaluation.svg; by default the folder of the weights, or the current
            folder for weights of the package. Required if you change the windows.
        windows: G1, G2 and strides.
    """
    use_threads(threads)
    file = existing_weights(weights)
    folder = out or (Path() if file in SHIPPED.values() else file.parent)
    require_writable("--out", folder / "evaluation.json", "evaluation.json")
    if out is None and any(windows.changes.values()):
        raise ValueError("give --out a folder: with other windows this is no evaluation of the weights as trained")
    with join(default_device(device)) as processes:
        found = evaluate_checkpoint(
            file, processes, data=data, data_dir=data_dir, download=download, batch_size=batch_size,
            workers=workers, bar=progress if processes.is_first else no_progress_bar, windows=windows.changes,
        )  # fmt: skip
        if not processes.is_first:
            return
        found.write(folder)
    for line in found.changes:
        console.print(line)
    print_evaluation(found)
    print_path(folder / "evaluation.svg")


def print_evaluation(result: CheckpointEvaluation) -> None:
    """One row per class, worst first; then every metric."""
    evaluation = result.evaluation
    found = result.task.by_class(evaluation, result.classes)
    table = Table(title=found.title, box=box.SIMPLE_HEAD)
    for index, column in enumerate(found.columns):
        table.add_column(column, justify="right" if index and found.rows[0][index][:1].isdigit() else "left")
    for row in found.rows[:30]:
        table.add_row(*map(plain, row))
    console.print(table)
    for metric in result.task.metrics:
        if isnan(metric.value(evaluation)):  # not defined for this data, such as top-5 of two classes
            continue
        value = f"[bold]{metric.text(metric.value(evaluation))}[/]"
        sentence = metric.sentence + "." if metric.sentence else f"{metric.name}: {{value}}"
        console.print(sentence.format(value=value, images=f"{evaluation.images:,} images"))
