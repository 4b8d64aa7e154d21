"""Write the progress of a training for TensorBoard, with PyTorch's own writer (package `tensorboard`)."""

from pathlib import Path
from typing import Any

from hatnet.training.progress import Progress
from hatnet.training.task import Task, row_of


def require_tensorboard() -> None:
    """Raise a ValueError unless PyTorch can write for TensorBoard."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--tensorboard needs its package: python -m pip install tensorboard ({error})") from error


class TensorBoardLog:
    """Scalars of a run, by step: each reported loss, and every metric after an epoch.

    Of a run that resumes after `step` steps, TensorBoard hides what an earlier process wrote of later steps.
    """

    def __init__(self, folder: Path, task: Task, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.task = task
        purge = step + 1 if step else None
        self.writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def write(self, now: Progress) -> None:
        """Add what was reported."""
        scalars = {
            "training/loss": now.loss,
            "training/learning_rate": now.learning_rate,
            "training/images_per_second": now.images_per_second,
        }
        if now.evaluation is not None:
            row = row_of(self.task, now.evaluation)
            scalars |= {f"test/{metric.name}": row[metric.column] for metric in self.task.metrics}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, now.step)

    def close(self) -> None:
        self.writer.close()
