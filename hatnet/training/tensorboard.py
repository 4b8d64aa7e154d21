"""Write the progress of a training for TensorBoard, with PyTorch's own writer (package `tensorboard`)."""

from pathlib import Path
from typing import Any

from hatnet.training.loop import Training
from hatnet.training.progress import Progress
from hatnet.training.task import row_of


def require_tensorboard() -> None:
    """Raise a ValueError unless PyTorch can write for TensorBoard."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--tensorboard needs its package: python -m pip install tensorboard ({error})") from error


class TensorBoardLog:
    """Scalars of a run, by step: each reported loss, and every metric after an epoch.

    Of a run that resumes, TensorBoard hides what an earlier process wrote of later steps.
    """

    def __init__(self, training: Training, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.task, self.part = training.task, training.folder.part
        purge = training.step + 1 if training.step else None
        self.writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def write(self, now: Progress) -> None:
        """Add what was reported."""
        scalars = {
            "training/loss": now.loss,
            "training/learning_rate": now.learning_rate,
            "training/images_per_second": now.images_per_second,
        }
        if now.evaluation is not None:
            row = row_of(self.task, now.evaluation, self.part)
            columns = {f"{self.part}/{metric.name}": metric.column(self.part) for metric in self.task.metrics}
            scalars |= {name: row[column] for name, column in columns.items() if column in row}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, now.step)

    def close(self) -> None:
        self.writer.close()
