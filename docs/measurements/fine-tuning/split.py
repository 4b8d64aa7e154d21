"""Sort the photos of the Debian package tuxpaint-stamps-default into four classes, and split them three times.

`apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb .`, then
`python split.py usr/share/tuxpaint/stamps stamps` writes stamps/split-0 to split-2, each with train and val. Two
drawings and a toy are left out. Photos whose names start with the same word, such as pig_golden and pig_golden2, stay
in one part.
"""

import random
import re
import shutil
import sys
from pathlib import Path

CLASSES = {
    "bird": ["animals/birds"],
    "flower": ["plants/flowers"],
    "fruit and vegetable": ["food/fruit", "food/vegetables"],
    "mammal": ["animals/mammals"],
}
DRAWN = {"echidna", "hedgehog", "edward_bear"}
TEST = 0.3  # of each class


def group(name: str) -> str:
    """The first word of a name. The photos flower1 to flower10 show ten different flowers."""
    return name if re.match(r"flower\d", name) else re.split(r"[-_\d]", name.lower())[0]


def split(stamps: Path, folder: Path, seed: int) -> None:
    """Copy the photos to `folder`/train and `folder`/val, other groups of them for each seed."""
    for name, folders in CLASSES.items():
        files = [file for part in folders for file in sorted((stamps / part).rglob("*.png"))]
        photos = [file for file in files if "cartoon" not in file.parts and file.stem not in DRAWN]
        groups: dict[str, list[Path]] = {}
        for photo in photos:
            groups.setdefault(group(photo.stem), []).append(photo)
        order, taken = sorted(groups), 0
        random.Random(seed).shuffle(order)
        for word in order:
            part = folder / ("val" if taken < TEST * len(photos) else "train") / name
            part.mkdir(parents=True, exist_ok=True)
            taken += len(groups[word])
            for photo in groups[word]:
                shutil.copy(photo, part / photo.name)


if __name__ == "__main__":
    for seed in range(3):
        split(Path(sys.argv[1]), Path(sys.argv[2]) / f"split-{seed}", seed)
