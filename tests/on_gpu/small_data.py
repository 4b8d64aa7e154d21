"""The command `hatnet`, for which `fashion-mnist` is a hundred images: `python -m tests.on_gpu.small_data train ...`.

The miniature of `tests.on_gpu` trains on them by the same commands as on a GPU.
"""

from dataclasses import replace
from pathlib import Path

from hatnet.cli.main import main
from hatnet.data import Split
from hatnet.data.images import balanced
from hatnet.data.sources import SOURCES, DataSource, fashion_subset


def small_fashion(folder: Path, download: bool) -> Split:
    """Eight training and two test images of each class."""
    data = fashion_subset(folder, download)
    train, test = (part.part(balanced(part.labels, count)) for part, count in ((data.train, 8), (data.test, 2)))
    return replace(data, name="fashion-mnist", train=train, test=test)


if __name__ == "__main__":
    SOURCES["fashion-mnist"] = DataSource(small_fashion, "nothing", "the package itself")
    main()
