"""Data opened by several processes at once: fetched by one of them, and without the files that can't be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from hatnet.data import ImageFolder, Split, open_data
from hatnet.data.image_folder import answer_file, broken_files
from hatnet.training.distributed import World

# From what is counted, and how much of it there is where that is known, to a function that counts one more.
Bar = Callable[[str, int | None], AbstractContextManager[Callable[[str], None]]]

NAMED = 10  # broken files; more are in the file that lists all


@contextmanager
def no_bar(description: str, total: int | None) -> Iterator[Callable[[str], None]]:
    """A `Bar` that shows nothing."""
    yield lambda _: None


def open_together(name: str, folder: Path, download: bool, world: World) -> Split:
    """`open_data` in several processes: the first one fetches what is missing, the others wait for it.

    Raises:
        DataError: as `open_data` does.
    """
    if world.first:
        data = open_data(name, folder, download)
        world.wait()
        return data
    world.wait()
    return open_data(name, folder)


def without_broken_files(
    data: Split, cache: Path, world: World, parts: Sequence[str] = ("training", "test"), bar: Bar = no_bar
) -> Split:
    """A data set in files, without those that can't be read; the first process looks, and tells which.

    Args:
        data: returned as it is where its images are in memory.
        cache: the folder in which answers are kept.
        world: the processes, all of which call this.
        parts: which to look at: the test of some weights has no use for the training images.
        bar: shows how far it is.

    Raises:
        DataError: if no image of a part can be read.
    """
    kept = {"training": data.train, "test": data.test}
    for part in parts:
        images = kept[part]
        if not isinstance(images, ImageFolder):
            continue
        broken: list[Path] = []
        if world.first:
            with bar(f"reading {part} images", len(images)) as step:
                broken = broken_files(images, cache, step=step)
            if broken:
                print(f"{len(broken)} of {len(images)} {part} images can't be read and are left out:")
                print("\n".join(f"  {path}" for path in broken[:NAMED]))
                if len(broken) > NAMED:
                    print(f"  ... and {len(broken) - NAMED} more; {answer_file(images, cache)} lists all")
        world.wait()
        gone = world.of_first_all(images.without(set(broken)).left_out)
        kept[part] = images.without_places(gone)
    return replace(data, train=kept["training"], test=kept["test"])
