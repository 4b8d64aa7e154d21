"""The command `hatnet evaluate`: test weights on every test image once."""

from pathlib import Path
from typing import Annotated

import tyro

from hatnet.cli.console import print_evaluation, progress
from hatnet.cli.train import default_device
from hatnet.device import use_threads
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.distributed import join
from hatnet.training.shared_data import no_progress_bar
from hatnet.weights.pretrained import weights_file


def evaluate(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    data: str | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    batch_size: int = 128,
    workers: int = 0,
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Test weights on every test image once, and draw the accuracy of each class and the confusion matrix.

    Args:
        checkpoint: weights (.safetensors of ours, .pth of the authors), or the folder of a run for its last weights.
        data: a data set or folder:PATH; by default the one of the training.
        data_dir: folder for data sets.
        download: fetch the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; by default the GPU if there is one, else the CPU.
        batch_size: images at once.
        workers: processes that prepare images.
        threads: of PyTorch on a CPU.
        out: folder for evaluation.json and evaluation.svg; by default the checkpoint's folder.
    """
    use_threads(threads)
    weights = weights_file(checkpoint)
    folder = out or weights.parent
    if not folder.is_dir():
        raise ValueError(f"no folder {folder} to write to; create it first")
    with join(default_device(device)) as processes:
        found = evaluate_checkpoint(
            weights, processes, data=data, data_dir=data_dir, download=download, batch_size=batch_size,
            workers=workers, bar=progress if processes.is_first else no_progress_bar,
        )  # fmt: skip
        if not processes.is_first:
            return
        found.write(folder)
    print_evaluation(found)
    print((folder / "evaluation.svg").resolve())
