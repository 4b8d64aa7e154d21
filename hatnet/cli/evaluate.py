"""The command `hatnet evaluate`: test weights on every test image once."""

from pathlib import Path
from typing import Annotated

import tyro

from hatnet.cli.console import console, print_evaluation, progress
from hatnet.cli.train import default_device
from hatnet.cli.weights import WindowOptions
from hatnet.device import use_threads
from hatnet.files import expand_home
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.distributed import join
from hatnet.training.shared_data import no_progress_bar
from hatnet.weights.pretrained import PRETRAINED, weights_file

WEIGHTS_OWN = WindowOptions()


def evaluate(
    weights: Annotated[str, tyro.conf.Positional],
    data: str | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    batch_size: int = 128,
    workers: int = 0,
    threads: int | None = None,
    out: Path | None = None,
    windows: Annotated[WindowOptions, tyro.conf.arg(name="")] = WEIGHTS_OWN,
) -> None:
    """Test weights on every test image once, and draw the accuracy of each class and the confusion matrix.

    Args:
        weights: fashion-mnist (comes with the package), a file of ours (.safetensors) or of the authors (.pth), or the
            folder of a run for its last weights.
        data: a data set or folder:PATH; by default the one of the training.
        data_dir: folder for data sets.
        download: fetch the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; by default the GPU if there is one, else the CPU.
        batch_size: images at once.
        workers: processes that prepare images.
        threads: of PyTorch on a CPU.
        out: folder for evaluation.json and evaluation.svg; by default that of the weights, or this one for weights of
            the package. It must be given if windows differ from those of the training.
        windows: G1, G2 and strides.
    """
    use_threads(threads)
    file = weights_file(weights)
    folder = expand_home(out) if out else Path() if file in PRETRAINED.values() else file.parent
    if not folder.is_dir():
        raise ValueError(f"no folder {folder} to write to; create it first")
    if out is None and any(windows.changes.values()):
        raise ValueError("give --out a folder: with other windows this is no evaluation of the weights as trained")
    with join(default_device(device)) as processes:
        found = evaluate_checkpoint(
            file, processes, data=data, data_dir=expand_home(data_dir), download=download, batch_size=batch_size,
            workers=workers, bar=progress if processes.is_first else no_progress_bar, windows=windows.changes,
        )  # fmt: skip
        if not processes.is_first:
            return
        found.write(folder)
    for line in found.changes:
        console.print(line)
    print_evaluation(found)
    print((folder / "evaluation.svg").resolve())
