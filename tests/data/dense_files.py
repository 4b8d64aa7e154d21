"""Write small data sets in COCO's and ADE20K's formats, and folders of cut-outs."""

import json

import numpy as np
from PIL import Image

SIZE = (20, 30)  # height, width


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def run_lengths(x, y, w, h, size=SIZE):
    """A rectangle as uncompressed run lengths, which go down the columns."""
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(size), "counts": [0, *counts] if flat[0] else counts}


def annotation(number, image=1, category=3, box=(4, 2, 5, 6), **changes):
    facts = {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": 0}
    return facts | {"area": box[2] * box[3], "segmentation": polygon(*box)} | changes


def content(*annotations, images=3):
    """The content of an annotation file: some images, and two categories whose ids are not in order."""
    pictures = [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in range(1, images + 1)]
    categories = [{"id": 7, "name": "pear"}, {"id": 3, "name": "apple"}]
    return {"images": pictures, "annotations": list(annotations), "categories": categories}


def write_coco(root, train=None, val=None, images=3):
    """A data set whose parts have the given contents; by default one apple in the first image."""
    (root / "annotations").mkdir(parents=True)
    for part, given in (("train", train), ("val", val)):
        write_images(root / part, images)
        text = json.dumps(content(annotation(1), images=images) if given is None else given)
        (root / "annotations" / f"instances_{part}.json").write_text(text)
    return root


def write_images(folder, images):
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(1, images + 1):
        Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def write_ade20k(root, images=3, classes=4):
    """Images, and annotations whose column c has the class number c modulo `classes` + 1."""
    for part in ("training", "validation"):
        write_images(root / "images" / part, images)
        (root / "annotations" / part).mkdir(parents=True)
        for number in range(1, images + 1):
            Image.fromarray(columns(classes)).save(root / "annotations" / part / f"{number}.png")
    return root


def columns(classes=4):
    return np.tile(np.arange(SIZE[1], dtype=np.uint8) % (classes + 1), (SIZE[0], 1))


def write_cutouts(root, classes=("fish", "kite"), count=5):
    """Discs of different colours on transparent ground."""
    y, x = np.mgrid[:24, :32]
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.zeros((24, 32, 4), np.uint8)
            disc = (y - 12) ** 2 + (x - 16) ** 2 < 100
            pixels[disc] = *([100 * place + 10 * number] * 3), 255
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root
