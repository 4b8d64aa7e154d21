"""Files for the fuzzed commands, good and bad: images of every mode, weights, records of studies."""

import json
import pickle
import random
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import hatnet
from hatnet.network import HATNet
from tests.fuzz.networks import SMALL

ROOT = Path(__file__).parents[2]
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F")
JUNK = (None, [], {}, "x", "", -1, 0, 1.5, 10**9, 10**30, True, [[]], float("nan"), "9" * 50, ["a"])


def write_all(folder: Path) -> dict[str, list[Path]]:
    """Write all files below `folder`: the paths by kind, `images`, `weights` and `records`, each the good one first."""
    warnings.simplefilter("ignore")
    generator = random.Random(0)
    found = {"images": images(folder, generator), "weights": weights(folder, generator)}
    found["records"] = records(folder, generator)
    odd = [folder / "no-such-file", folder / "loop", folder, folder / "empty.png", folder / "a \N{SNOWMAN} b.png"]
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "empty.png").touch()
    (folder / "a \N{SNOWMAN} b.png").write_bytes(found["images"][0].read_bytes())
    return {kind: paths + odd for kind, paths in found.items()}


def damaged(content: bytes, generator: random.Random) -> list[bytes]:
    """Truncated, with flipped bytes at its start and anywhere, and with a zeroed end."""
    variants = [content[:cut] for cut in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1)]
    for end in (16, 64, 200, len(content)):
        for _ in range(4):
            flipped = bytearray(content)
            for _ in range(generator.choice((1, 1, 3))):
                flipped[generator.randrange(min(end, len(content)))] ^= 1 << generator.randrange(8)
            variants.append(bytes(flipped))
    return [*variants, content[: len(content) // 2] + bytes(len(content) - len(content) // 2)]


def images(folder: Path, generator: random.Random) -> list[Path]:
    paths = []

    def keep(name: str, content: bytes) -> None:
        paths.append(folder / name)
        paths[-1].write_bytes(content)

    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (folder / "images" / part / label).mkdir(parents=True)
            for number in range(2):
                pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / part / label / f"{number}.png")
    good = (folder / "images" / "train" / "cat" / "0.png").read_bytes()
    keep("good.png", good)
    for index, content in enumerate(damaged(good, generator)):
        keep(f"damaged-{index}.png", content)
    for mode in MODES:
        picture = Image.new(mode, (20, 30))
        for suffix in ("png", "tiff", "jpg", "gif"):
            path = folder / f"{mode.replace(';', '-')}.{suffix}"
            try:
                picture.save(path)
            except (OSError, ValueError, KeyError):
                path.unlink(missing_ok=True)
                continue
            paths.append(path)
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("RGB", (3000, 1)).save(folder / "line.png")
    return [*paths, folder / "pixel.png", folder / "line.png"]


def weights(folder: Path, generator: random.Random) -> list[Path]:
    model = HATNet(SMALL).eval()
    good = folder / "good.safetensors"
    hatnet.save(model, good, {"data": f"folder:{folder / 'images'}", "classes": ["cat", "dog"], "image_size": 16})
    content = good.read_bytes()
    paths = [good]
    for index, other in enumerate([*damaged(content, generator), *other_metadata(content, generator)]):
        paths.append(folder / f"weights-{index}.safetensors")
        paths[-1].write_bytes(other)
    tensors = model.state_dict()
    pickles = {
        "good": tensors, "list": [1], "sparse": {"a": torch.eye(3).to_sparse()}, "complex": {"a": torch.ones(2) * 1j},
        "nested": {"state_dict": {"model": tensors}}, "names": {1: torch.ones(2)}, "module": model, "none": None,
    }  # fmt: skip
    for name, value in pickles.items():
        torch.save(value, folder / f"{name}.pth")
        paths.append(folder / f"{name}.pth")
    (folder / "text.pth").write_text("weights")
    (folder / "pickle.pth").write_bytes(pickle.dumps({"a": 1}))
    return [*paths, folder / "text.pth", folder / "pickle.pth"]


def other_metadata(content: bytes, generator: random.Random) -> list[bytes]:
    """The same file with other metadata: facts and fields of the configuration replaced by junk."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    known = header["__metadata__"]
    variants: list[object] = [None, {}, {"format": "hatnet"}, known | {"version": "99"}, {"format": "pt"}]
    for key in ("config", "about"):
        variants += [known | {key: json.dumps(junk)} for junk in JUNK]
        variants += [known | {key: "[" * 5000}, known | {key: "{"}]
        fields = json.loads(known[key])
        for name in fields:
            variants += [known | {key: json.dumps(fields | {name: generator.choice(JUNK)})} for _ in range(2)]
            variants.append(known | {key: json.dumps({k: v for k, v in fields.items() if k != name})})
    return [_with_header(header | {"__metadata__": variant}, content[8 + length :]) for variant in variants]


def _with_header(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def records(folder: Path, generator: random.Random) -> list[Path]:
    """Kept records, smaller ones with one value anywhere replaced by junk, and files that are no records."""
    names = ("scaling-stage-0-cpu.json", "ablation-subset-cpu.json", "faithfulness.json")
    kept = [path for path in (ROOT / "docs/measurements" / name for name in names) if path.is_file()]
    paths = []
    for path in kept:
        content = json.loads(path.read_text())
        for index in range(25):
            paths.append(folder / f"{path.stem}-{index}.json")
            paths[-1].write_text(json.dumps(with_junk(content, generator) if index else content))
    for name, text in {
        "deep": "[" * 5000,
        "list": "[]",
        "null": "null",
        "half": '{"kind": "hatnet scaling", "version":',
    }.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(text)
    return paths


def with_junk(value: object, generator: random.Random) -> object:
    """A copy with one value, at any depth, replaced or left out."""
    if not isinstance(value, dict | list) or not value or generator.random() < 0.15:
        return generator.choice(JUNK)
    key = generator.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if isinstance(value, dict):
        if generator.random() < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        return value | {key: with_junk(value[key], generator)}
    return [*value[:key], with_junk(value[key], generator), *value[key + 1 :]]
