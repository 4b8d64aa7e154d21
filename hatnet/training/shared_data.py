"""Open data in several processes: one of them fetches it and looks for broken files, and the others wait."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from hatnet.data import ImageFolder, Split, open_data
from hatnet.data.broken_files import broken_files, result_file, why_broken
from hatnet.data.images import DataError, too_many
from hatnet.training.distributed import Processes

# Takes a description and a total, which is None if it is unknown; gives a function that advances the bar by one.
ProgressBar = Callable[[str, int | None], AbstractContextManager[Callable[[str], None]]]

PRINTED = 10  # broken files; a file lists all of them


@contextmanager
def no_progress_bar(description: str, total: int | None) -> Iterator[Callable[[str], None]]:
    """A `ProgressBar` that shows nothing."""
    yield lambda _: None


def open_shared_data(
    name: str, folder: Path, download: bool, processes: Processes, task: str = "classification"
) -> Split:
    """Open a data set with `open_data`, which raises DataError. The first process fetches what is missing.

    It also prints what a user should know about how the data was split.
    """
    if not processes.is_first:
        processes.wait()
        return open_data(name, folder, task=task)
    data = open_data(name, folder, download, task)
    if data.note:
        print(data.note, flush=True)
    processes.wait()
    return data


def without_broken_files(
    data: Split,
    cache: Path,
    processes: Processes,
    parts: Sequence[str] = ("training", "validation", "test"),
    bar: ProgressBar = no_progress_bar,
) -> Split:
    """Leave out the files that cannot be read. The first process finds and prints them, and all processes call this.

    The results are kept in the folder `cache`. Images in memory stay. Raises DataError if too many are broken.
    """
    kept = dict(data.parts)
    for part in parts:
        images = kept.get(part)
        if not isinstance(images, ImageFolder):
            continue
        broken: list[Path] = []
        if processes.is_first:
            with bar(f"reading {part} images", len(images)) as step:
                broken = broken_files(images, cache, step=step)
            _print_broken(broken, part, images, cache)
        processes.wait()
        kept[part] = images.without_places(processes.from_first(images.without(set(broken)).left_out))
        gone = len(images) - len(kept[part])
        if too_many(gone, len(images)):
            raise DataError(f"{gone:,} of {len(images):,} {part} images cannot be used. Correct them, or take them out")
    return replace(data, train=kept["training"], validation=kept.get("validation"), test=kept["test"])


def _print_broken(broken: Sequence[Path], part: str, images: ImageFolder, cache: Path) -> None:
    if not broken:
        return
    print(f"{len(broken)} of {len(images)} {part} images cannot be used and are left out:")
    print("\n".join(f"  {why_broken(images, path)}" for path in broken[:PRINTED]))
    if len(broken) > PRINTED:
        print(f"  ... and {len(broken) - PRINTED} more; {result_file(images, cache)} lists all")
