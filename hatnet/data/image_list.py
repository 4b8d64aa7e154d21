"""List the image files that a command is given: files, and folders of them."""

from collections.abc import Iterable
from pathlib import Path

from hatnet.data.image_folder import SUFFIXES, files_in, is_image_name
from hatnet.files import expand_home


def find_images(images: str | Path | Iterable[str | Path]) -> list[Path]:
    """List the given files and all images in the given folders and their subfolders, by file extension, each file once.

    Raises FileNotFoundError for a path that does not exist, ValueError for a folder without images or an empty list.
    """
    found: dict[Path, Path] = {}  # by real path, so that no image appears twice
    for path in map(expand_home, [images] if isinstance(images, str | Path) else images):
        if path.is_dir():
            inside = [each for each in files_in(path) if is_image_name(each)]
            if not inside:
                raise ValueError(f"no images in {path}; supported file extensions: {', '.join(sorted(SUFFIXES))}")
        elif path.exists():
            inside = [path]
        else:
            raise FileNotFoundError(f"no image file or folder at {path}")
        for each in inside:
            found.setdefault(each.resolve(), each)
    if not found:
        raise ValueError("no images are given; name image files, or folders of them")
    return list(found.values())
