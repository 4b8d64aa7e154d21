"""Find Fashion-MNIST on this machine, check it, and lay it out as `--data-dir` expects it."""

import gzip
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from hatnet.files import read_whole, write_whole
from tests.on_gpu.place import ROOT, Place

FILES = {  # SHA-256 of the four files after decompression; Debian's archives differ from the published ones
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
LARGEST = 2**26  # bytes
PLACES = (ROOT / "data", Path("/usr/share/datasets/fashion-mnist"))  # ours, and that of Debian's dataset-fashion-mnist
INSIDE = Path("FashionMNIST", "raw")  # where torchvision keeps the files
HOW = (
    "install Debian's dataset-fashion-mnist, or copy its four files *-ubyte.gz (31 MB) to a folder and name it with "
    "--fashion-mnist"
)


def prepared(place: Place) -> Path:
    """The folder for `--data-dir`, which `prepare` fills."""
    return place.runs / "data"


def prepare(place: Place) -> str:
    """Copy the four files to `prepared(place)`, unless they are there. Returns what is wrong, or an empty text."""
    if place.miniature or all((prepared(place) / INSIDE / name).is_file() for name in FILES):
        return ""
    folders = (place.fashion,) if place.fashion else PLACES
    content: dict[str, bytes] = {}
    for name, digest in FILES.items():
        path = next((path for folder in folders for path in _paths(folder, name) if path.is_file()), None)
        if path is None:
            return f"{name} of Fashion-MNIST is not in {' or '.join(map(str, folders))}: {HOW}"
        try:
            content[name] = read_whole(path, LARGEST)
            if path.suffix == ".gz":
                content[name] = gzip.decompress(content[name])
        except (OSError, EOFError, ValueError) as error:
            return f"{path} cannot be read ({error}): {HOW}"
        if sha256(content[name]).hexdigest() != digest:
            return f"{path} is not the published file, or damaged: {HOW}"
    (prepared(place) / INSIDE).mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        write_whole(prepared(place) / INSIDE / name, data)
    return ""


def _paths(folder: Path, name: str) -> Iterator[Path]:
    for inside in (folder, folder / INSIDE):
        yield from (inside / name, inside / f"{name}.gz")
