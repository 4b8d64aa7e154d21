"""Measure what it costs to change windows under the shipped weights: `PYTHONPATH=docs python -m builder.windows`.

It prints a table for docs/own-images.md, and with a path as argument also writes it there. On the 2,500 embedded test
images; nothing is downloaded.
"""

import sys
from datetime import date
from pathlib import Path
from typing import Any

from hatnet.files import write_whole
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.distributed import Processes, join
from hatnet.weights.pretrained import load_pretrained, pretrained_file

VARIANT, DATA = "micro", "fashion-mnist"
CHANGES: tuple[dict[str, tuple[int, ...]], ...] = (
    {},
    {"grid_sizes": (8, 8)},
    {"grid_sizes": (14, 14)},
    {"grid_sizes": (4, 4)},
    {"grid_sizes": (2, 2)},
    {"pool_sizes": (5, 2)},
    {"pool_sizes": (2, 2)},
    {"pool_sizes": (8, 4)},
    {"pool_sizes": (28, 14)},
    {"stem_strides": (1, 2)},
    {"stem_strides": (1, 2), "grid_sizes": (8, 4)},
    {"stem_strides": (2, 2)},
)


def measure(changes: dict[str, tuple[int, ...]], processes: Processes) -> float:
    """Accuracy of the shipped weights on the embedded test images, with some windows changed.

    Args:
        changes: as `change_windows` takes them.
        processes: of `join`.

    Returns:
        The accuracy, from 0 to 1.
    """
    file = pretrained_file(VARIANT, DATA)
    return evaluate_checkpoint(file, processes, data="fashion-subset", windows=changes).evaluation.accuracy


def table(rows: list[tuple[dict[str, tuple[int, ...]], float]]) -> str:
    """The table in Markdown.

    Args:
        rows: changes and accuracy.

    Returns:
        One line per row. Changed values are bold.
    """
    own = load_pretrained(VARIANT, DATA, {}).config
    lines = ["| stem strides | G1 | G2 | accuracy |", "| --- | --- | --- | ---: |"]
    for changes, accuracy in rows:
        cells = [_words(name, changes, own) for name in ("stem_strides", "grid_sizes", "pool_sizes")]
        lines.append(f"| {' | '.join(cells)} | {100 * accuracy:.2f} % |")
    return "\n".join(lines) + "\n"


def _words(name: str, changes: dict[str, tuple[int, ...]], own: Any) -> str:
    words = ", ".join(map(str, changes.get(name, getattr(own, name))))
    return f"**{words}**" if name in changes else words


if __name__ == "__main__":
    with join("cpu") as alone:
        found = [(changes, measure(changes, alone)) for changes in CHANGES]
    text = table(found)
    print(f"{date.today()}\n\n{text}")
    for path in sys.argv[1:]:
        write_whole(Path(path), text.encode())
