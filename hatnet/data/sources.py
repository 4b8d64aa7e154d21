"""Data sets by name: one function each, from files to a `Split`.

torchvision reads them, except for CIFAR, which it unpickles. That could execute code, so here the binary is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hatnet.checks import require_choice, require_type
from hatnet.config import TASKS, nearest
from hatnet.data.ade20k import open_ade20k
from hatnet.data.coco import DENSE, open_coco
from hatnet.data.image_file import EMBEDDED
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder, open_folder
from hatnet.data.images import DataError, ImageTensor, Split
from hatnet.data.scenes.named import NAME, open_scenes
from hatnet.files import absolute_path

FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
IMAGENETTE = {"train": 9_469, "val": 3_925}  # photos
FORMATS = {  # of folders of one's own, and their tasks
    "folder": ("classification",), "coco": DENSE, "ade20k": ("segmentation",),
}  # fmt: skip
# Raised by libraries for files that are missing or damaged.
UNREADABLE = (RuntimeError, OSError, ValueError, TypeError, AssertionError, EOFError, LookupError)


def open_data(name: str, folder: Path = Path("data"), download: bool = False, task: str = "classification") -> Split:
    """Open one of `SOURCES` or `scenes` in `folder`, or one's own: `folder:PATH`, `coco:PATH` or `ade20k:PATH`.

    See `open_folder`, `open_coco`, `open_ade20k` and `open_scenes`. `task` is classification, segmentation, detection
    or instances. `download` fetches missing files and compares their checksums. Raises DataError (a ValueError) for an
    unknown name, for data that does not suit the task, and for data that is missing, damaged or inconsistent.
    """
    require_type("name", name, str, "a text, the name of a data set or folder:PATH")
    require_choice("task", task, TASKS)
    folder = Path(folder)
    kind, _, path = name.partition(":")
    tasks = _tasks(name, kind)
    if task not in tasks:
        raise DataError(f"the data set {name!r} is for {' and '.join(tasks)}, not for {task}")
    if kind in FORMATS:
        if not path:
            raise DataError(f"{kind}: needs a path after it, such as {kind}:data/photos")
        return _open_format(kind, Path(absolute(name).removeprefix(f"{kind}:")), task)
    if name not in SOURCES:
        return open_scenes(name, folder, task)
    source = SOURCES[name]
    try:
        return source.open(folder, download)
    except DataError:
        raise
    except UNREADABLE as error:
        if download:
            raise DataError(f"{name} could not be fetched into {folder}: {error}") from error
        raise DataError(
            f"{name} is not in {folder}, or only half of it ({error}). "
            f"Add --download to fetch {source.size} from {source.host}, or point --data-dir to where it is."
        ) from error


def _tasks(name: str, kind: str) -> tuple[str, ...]:
    """The tasks of a data set. Raises DataError for an unknown name."""
    if kind in FORMATS:
        return FORMATS[kind]
    if name in SOURCES:
        return ("classification",)
    if NAME.fullmatch(name):
        return DENSE
    known = (*SOURCES, "scenes")
    names = ", ".join([*known, *(f"{each}:PATH" for each in FORMATS)])
    raise DataError(f"unknown data set {name!r}{nearest(name, known)}; known: {names}")


def _open_format(kind: str, root: Path, task: str) -> Split:
    if kind == "coco":
        return open_coco(root, task)
    return open_ade20k(root) if kind == "ade20k" else open_folder(root)


def absolute(name: str) -> str:
    """The name with the path of a folder made absolute, `~` expanded, so that it holds from anywhere.

    >>> absolute("folder:/photos/"), absolute("cifar10")
    ('folder:/photos', 'cifar10')
    """
    require_type("name", name, str, "a text, the name of a data set or folder:PATH")
    kind, _, path = name.partition(":")
    return f"{kind}:{absolute_path(path)}" if kind in FORMATS and path else name


def fashion_subset(folder: Path, download: bool) -> Split:
    """The embedded part of Fashion-MNIST: the first 1,200 training and 250 test images of every class."""
    with np.load(EMBEDDED, allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(array) for name, array in file.items()}
    train = ImageTensor(arrays["train_images"][:, None], arrays["train_labels"].long())
    test = ImageTensor(arrays["test_images"][:, None], arrays["test_labels"].long())
    return Split("fashion-subset", train, test, FASHION, mean=(0.2860,), std=(0.3530,))


def fashion_mnist(folder: Path, download: bool) -> Split:
    """Fashion-MNIST, complete: 60,000 and 10,000 grey images of 28 x 28 pixels (arXiv:1708.07747)."""
    from torchvision.datasets import FashionMNIST

    inside, parts = folder / "FashionMNIST", []
    for train, count in ((True, 60_000), (False, 10_000)):
        complete = all((inside / "raw" / Path(name).stem).is_file() for name, _ in FashionMNIST.resources)
        try:
            part = FashionMNIST(folder, train=train, download=download)
        except UNREADABLE as error:
            if not complete:
                raise
            # torchvision does not replace a file that exists, so --download alone would not help
            raise DataError(
                f"Fashion-MNIST in {inside} is damaged or half-downloaded ({error}): {_fetch_again(inside)}"
            ) from error
        if part.data.shape != (count, 28, 28) or len(part.targets) != count:
            raise DataError(
                f"Fashion-MNIST in {folder} holds {tuple(part.data.shape)} images and {len(part.targets)} labels, "
                f"not {count} of 28 x 28: {_fetch_again(inside)}"
            )
        parts.append(ImageTensor(part.data[:, None], part.targets.long()))
    train_part, test_part = parts
    return Split("fashion-mnist", train_part, test_part, FASHION, mean=(0.2860,), std=(0.3530,))


def cifar10(folder: Path, download: bool) -> Split:
    """CIFAR-10: 50,000 and 10,000 colour images of 32 x 32 pixels."""
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    files = _cifar_files(folder, "cifar-10-binary", md5, "cifar-10-batches-bin", download)
    train = _read_cifar([files / f"data_batch_{number}.bin" for number in range(1, 6)], 10_000, label_bytes=1)
    test = _read_cifar([files / "test_batch.bin"], 10_000, label_bytes=1)
    classes = _names(files / "batches.meta.txt", 10)
    return Split("cifar10", train, test, classes, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def cifar100(folder: Path, download: bool) -> Split:
    """CIFAR-100, with its 100 fine labels: 50,000 and 10,000 colour images of 32 x 32 pixels."""
    files = _cifar_files(folder, "cifar-100-binary", "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary", download)
    train = _read_cifar([files / "train.bin"], 50_000, label_bytes=2)
    test = _read_cifar([files / "test.bin"], 10_000, label_bytes=2)
    classes = _names(files / "fine_label_names.txt", 100)
    return Split("cifar100", train, test, classes, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))


def imagenette(folder: Path, download: bool) -> Split:
    """Imagenette, ten classes of ImageNet: 9,469 and 3,925 photos with a shorter side of 320 pixels."""
    from torchvision.datasets import Imagenette

    root = folder / "imagenette2-320"
    if download and not root.is_dir():
        Imagenette(str(folder), split="train", size="320px", download=True)
    if root.is_dir():
        _require_all_photos(root, IMAGENETTE)
    parts = []
    for part in ("train", "val"):
        opened = Imagenette(str(folder), split=part, size="320px")
        paths, labels = zip(*opened._samples, strict=True)
        parts.append(ImageFolder(map(Path, paths), torch.tensor(labels)))
    train, test = parts
    return Split("imagenette", train, test, tuple(names[0] for names in opened.classes), IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class DataSource:
    """How to open a data set, the size of its download, and the server it comes from."""

    open: Callable[[Path, bool], Split]
    size: str
    host: str


SOURCES = {
    "fashion-subset": DataSource(fashion_subset, "nothing", "the package itself"),
    "fashion-mnist": DataSource(fashion_mnist, "31 MB", "fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
    "cifar10": DataSource(cifar10, "170 MB", "www.cs.toronto.edu"),
    "cifar100": DataSource(cifar100, "169 MB", "www.cs.toronto.edu"),
    "imagenette": DataSource(imagenette, "340 MB", "s3.amazonaws.com/fast-ai-imageclas"),
}


def _cifar_files(folder: Path, archive: str, md5: str, inside: str, download: bool) -> Path:
    files = folder / inside
    if download and not files.is_dir():
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(f"https://www.cs.toronto.edu/~kriz/{archive}.tar.gz", str(folder), md5=md5)
    if not files.is_dir():
        raise FileNotFoundError(f"no folder {files}")
    return files


def _read_cifar(paths: list[Path], count: int, label_bytes: int) -> ImageTensor:
    """Read records of `label_bytes` labels, the finest one last, and 3 x 32 x 32 pixels."""
    record = label_bytes + 3 * 32 * 32
    parts = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing: {_fetch_again(path.parent)}")
        content = np.fromfile(path, dtype=np.uint8)
        if len(content) != count * record:
            found = f"{path} has {len(content):,} bytes instead of {count * record:,}"
            raise DataError(f"{found}: it is damaged or half-downloaded; {_fetch_again(path.parent)}")
        parts.append(torch.from_numpy(content).view(count, record))
    records = torch.cat(parts)
    return ImageTensor(records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].long())


def _names(path: Path, count: int) -> tuple[str, ...]:
    names = tuple(path.read_text().split()) if path.is_file() else ()
    if len(names) != count:
        raise DataError(f"{path} holds {len(names)} names of classes, not {count}: {_fetch_again(path.parent)}")
    return names


def _require_all_photos(root: Path, counts: dict[str, int]) -> None:
    """Count the photos, since torchvision only checks for the folder, which half a download leaves too."""
    found = {part: {folder.name: _photos(folder) for folder in (root / part).glob("*/")} for part in counts}
    lacks = []
    for part, count in counts.items():
        classes = sorted(set().union(*found.values()) - found[part].keys())
        if classes:
            lacks.append(f"{part} lacks the class folder{'s' * (len(classes) > 1)} {', '.join(classes)}")
        if sum(found[part].values()) != count:
            lacks.append(f"{part} has {sum(found[part].values()):,} of {count:,} photos")
    if lacks:
        raise DataError(f"Imagenette in {root} is not whole ({'; '.join(lacks)}): {_fetch_again(root)}")


def _photos(folder: Path) -> int:
    return sum(path.suffix.lower() == ".jpeg" for path in folder.iterdir())


def _fetch_again(folder: Path) -> str:
    return f"delete {folder} and fetch it again with --download"
