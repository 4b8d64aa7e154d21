"""Write small data sets in the formats that the package reads."""

import numpy as np
from PIL import Image

from hatnet.data import open_data


def write_fashion(root, train=60_000, test=10_000, label=3):
    """The format of Fashion-MNIST's files: a magic number with type and rank, sizes, bytes."""

    def write(name, array):
        header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4")
        (raw / name).write_bytes(header.tobytes() + array.astype(np.uint8).tobytes())

    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 5, 7] = np.arange(count) % 251
        write(f"{part}-images-idx3-ubyte", images)
        write(f"{part}-labels-idx1-ubyte", np.full(count, label))
    return raw


def write_folder(root, classes=("cat", "dog"), images=3, size=(40, 30), parts=("train", "val")):
    generator = np.random.default_rng(0)
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def write_cifar(root, fine):
    """The binary version, sparse: all zeros but for the first record of each file."""
    inside = root / ("cifar-100-binary" if fine else "cifar-10-batches-bin")
    inside.mkdir()
    labels = [19, 7] if fine else [7]
    files = ("train", "test") if fine else (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    for place, name in enumerate(files):
        with (inside / f"{name}.bin").open("wb") as file:
            file.write(bytes([*labels, place + 1, 0, 2]))
            file.truncate((50_000 if name == "train" else 10_000) * (len(labels) + 3072))
    names = [f"class{number}" for number in range(100 if fine else 10)]
    (inside / ("fine_label_names.txt" if fine else "batches.meta.txt")).write_text("\n".join(names) + "\n\n")
    return inside


def write_imagenette(root, monkeypatch):
    """Three training photos and two test photos of each of two classes, and that is all there is."""
    monkeypatch.setattr("hatnet.data.sources.IMAGENETTE", {"train": 6, "val": 4})
    for part, count in (("train", 3), ("val", 2)):
        for name in ("n01440764", "n02102040"):
            folder = root / "imagenette2-320" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 30)).save(folder / f"{number}.JPEG", "JPEG")
    return root / "imagenette2-320"


def folder_data(root, *sizes, images=3):
    """Random photos of cats and dogs, with the width and height of training and test photos."""
    for part, size in zip(("train", "val"), sizes or [(28, 28)] * 2, strict=True):
        write_folder(root, images=images, size=size, parts=(part,))
    return open_data(f"folder:{root}")
