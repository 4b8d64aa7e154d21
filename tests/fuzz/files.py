"""Files for both suites, good and bad: images, folders of images, weights, training states, recipes, and records."""

import json
import pickle
import random
import struct
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load

import hatnet
from hatnet.dense import RetinaNet, SemanticFPN
from hatnet.network import HATNet
from hatnet.training import RECIPES
from hatnet.training.resuming import State, save_state
from hatnet.weights.tensor_file import to_parts
from tests.fuzz import dense
from tests.fuzz.networks import SMALL

ROOT = Path(__file__).parents[2]
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F")
JUNK = (None, [], {}, "x", "", -1, 0, 1.5, 10**9, 10**30, True, [[]], float("nan"), "9" * 50, ["a"])
RECIPE = replace(RECIPES["fashion-quick"], epochs=1, batch_size=4, slice_size=2, image_size=16)


def write_all(folder: Path) -> dict[str, list[Path]]:
    """Write all files below `folder`: the paths by kind, each the good one first."""
    warnings.simplefilter("ignore")
    generator = random.Random(0)
    found = {"images": images(folder, generator), "weights": weights(folder, generator)}
    found |= {"records": records(folder, generator), "recipes": recipes(folder, generator)}
    found["states"] = states(folder, generator)
    found["annotations"] = dense.annotations(folder, with_junk, generator)
    odd = [folder / "no-such-file", folder / "loop", folder, folder / "empty.png", folder / "a \N{SNOWMAN} b.png"]
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "empty.png").touch()
    (folder / "a \N{SNOWMAN} b.png").write_bytes(found["images"][0].read_bytes())
    places = {
        "folders": folders(folder, found["images"]), "coco": dense.coco_folders(folder, found["annotations"]),
        "ade20k": dense.ade20k_folders(folder), "cutouts": dense.cutout_folders(folder, found["images"]),
    }  # fmt: skip
    return {kind: paths + odd for kind, paths in found.items()} | places


def drawn(paths: Sequence[Path | str], number: int) -> tuple[str, bytes | None]:
    """One of some files by a number; every third is one of the first, changed anew: its name, and its new content."""
    path = Path(paths[number // 3 % len(paths)])
    if number % 3 or not path.is_file():
        return str(path), None
    variants = damaged(path.read_bytes() or b"x", random.Random(number))
    return f"drawn-{number}{path.suffix}", variants[number // 3 % len(variants)]


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


def folders(folder: Path, pictures: list[Path]) -> list[Path]:
    """Folders of images: the good one, then some without images, parts or classes, and with damaged and odd files."""
    found = [folder / "images"]
    for name, places in {
        "nothing": (), "class": ("cat",), "classes": ("cat", "dog"), "no-test": ("train/cat", "train/dog"),
        "others": ("train/cat", "train/dog", "val/cat", "val/cow"), "parts": ("train/a", "test/a", "val/a"),
        "hidden": (".cat", "dog"), "deep": ("cat/a/b/c", "dog"),
        "all": ("train/cat", "train/dog", "val/cat", "val/dog"),
    }.items():  # fmt: skip
        found.append(folder / "folders" / name)
        found[-1].mkdir(parents=True)
        for place in places:
            (found[-1] / place).mkdir(parents=True)
            for picture in pictures[:: 1 if name == "all" else 20]:
                (found[-1] / place / picture.name).write_bytes(picture.read_bytes())
    (found[2] / "cat" / "loop.png").symlink_to("loop.png")
    (found[3] / "dog" / "folder.png").mkdir()
    (found[3] / "cat" / "round").symlink_to("..")
    return [*found, folder / "no-such-folder", pictures[0]]


def weights(folder: Path, generator: random.Random) -> list[Path]:
    model = HATNet(replace(SMALL, num_classes=2)).eval()
    good = folder / "good.safetensors"
    facts = {"data": f"folder:{folder / 'images'}", "classes": ["cat", "dog"], "image_size": 16, "mean": [0.5]}
    hatnet.save(model, good, facts | {"std": [0.2], "epoch": 1, "test_accuracy": 0.5, "recipe": asdict(RECIPE)})
    content = good.read_bytes()
    paths = [good]
    for index, other in enumerate([*damaged(content, generator), *other_facts(content, generator)]):
        paths.append(folder / f"weights-{index}.safetensors")
        paths[-1].write_bytes(other)
    tensors = model.state_dict()
    pickles = {
        "good": tensors, "list": [1], "sparse": {"a": torch.eye(3).to_sparse()}, "complex": {"a": torch.ones(2) * 1j},
        "nested": {"state_dict": {"model": tensors}}, "names": {1: torch.ones(2)}, "module": model, "none": None,
        "half known": {"classifier.1.weight": torch.ones(3, 2), "patch_embed.0.weight": torch.ones(1)},
        "odd known": {"classifier.1.weight": torch.ones(()), "patch_embed.0.weight": torch.ones(0, 0, 3, 3)},
    }  # fmt: skip
    for name, value in pickles.items():
        torch.save(value, folder / f"{name}.pth")
        paths.append(folder / f"{name}.pth")
    (folder / "text.pth").write_text("weights")
    (folder / "pickle.pth").write_bytes(pickle.dumps({"a": 1}))
    return [*paths, folder / "text.pth", folder / "pickle.pth", *dense_weights(folder, generator)]


def dense_weights(folder: Path, generator: random.Random) -> list[Path]:
    """Small models for segmentation and detection, and the same files damaged and with other facts."""
    config, paths = SMALL.with_dense_windows(), []
    for model in (SemanticFPN(config, width=2), RetinaNet(config, width=2, min_size=16, max_size=32)):
        good = folder / f"{model.task}.safetensors"
        hatnet.save(model.eval(), good, {"classes": ["a", "b", "c"], "image_size": 16, "recipe": asdict(RECIPE)})
        content = good.read_bytes()
        paths += [good] * 10
        for index, other in enumerate([*damaged(content, generator), *other_facts(content, generator)]):
            paths.append(folder / f"{model.task}-{index}.safetensors")
            paths[-1].write_bytes(other)
    return paths


def states(folder: Path, generator: random.Random) -> list[Path]:
    model = HATNet(SMALL)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    row = {"epoch": 0, "step": 1, "seconds": 1.0, "images_per_second": 1.0, "memory_mb": 1.0}
    state = State(
        1, tensors, [row], {"loss_sum": 1.0, "seconds": 1.0}, origin={"weights": "x"}, network=asdict(SMALL),
        data={"train": "a"}, left_out={"train": [1]}, normalisation={"mean": [0.5], "std": [0.2]},
    )  # fmt: skip
    good = folder / "state.safetensors"
    save_state(good, state, RECIPE)
    content = good.read_bytes()
    paths = [good, folder / "good.safetensors"]
    for index, other in enumerate([*damaged(content, generator), *other_facts(content, generator)]):
        paths.append(folder / f"state-{index}.safetensors")
        paths[-1].write_bytes(other)
    return paths


def other_facts(content: bytes, generator: random.Random) -> list[bytes]:
    """The same tensors with other facts and a right checksum, and with the metadata of version 1."""
    size = 8 + int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8:size])["__metadata__"]["hatnet"])
    kind = facts.pop("kind")
    del facts["checksum"], facts["version"]
    tensors = load(content)
    variants: list[dict] = [{}, facts | {"unknown": 1}]
    for key, known in facts.items():
        variants += [facts | {key: junk} for junk in JUNK]
        for name in known:
            variants += [facts | {key: known | {name: generator.choice(JUNK)}} for _ in range(3)]
            variants.append(facts | {key: {other: value for other, value in known.items() if other != name}})
        variants += [facts | {key: with_junk(known, generator)} for _ in range(10)]
    written = [b"".join(to_parts(kind, variant, tensors)) for variant in variants]
    written += [b"".join(to_parts(other, facts, tensors)) for other in ("", "hatnet", "hatnet training", "x" * 5000)]
    fewer = dict(list(tensors.items())[1:])
    for other in (fewer, {}, tensors | {"extra": torch.ones(2)}, {name: torch.ones(1) for name in tensors}):
        written.append(b"".join(to_parts(kind, facts, other)))
    for dtype in (torch.float16, torch.int64, torch.bool, torch.complex64):
        written.append(b"".join(to_parts(kind, facts, {name: part.to(dtype) for name, part in tensors.items()})))
    for value in (torch.nan, torch.inf):
        other = {name: torch.full_like(part, value, dtype=torch.float32) for name, part in tensors.items()}
        written.append(b"".join(to_parts(kind, facts, other)))
    return [*written, *_version_1(content[:size], content[size:], kind, facts)]


def _version_1(header: bytes, tensors: bytes, kind: str, facts: dict) -> list[bytes]:
    entries = json.loads(header[8:])
    texts = {key: json.dumps(fact) for key, fact in facts.items()} | {"format": kind, "version": "1"}
    variants: list[object] = [texts, None, [], {}, {"format": kind}, {"hatnet": "["}, {"hatnet": "{}"}, {"hatnet": 1}]
    variants += [texts | {"version": "99"}, texts | {"version": ""}, texts | {"hatnet": "[" * 5000}]
    for key in texts:
        variants += [texts | {key: text} for text in ("", "[" * 5000, "null", "[]", "NaN", "1e999", "{}", "9" * 5000)]
    return [_with_header(entries | {"__metadata__": variant}, tensors) for variant in variants]


def recipes(folder: Path, generator: random.Random) -> list[Path]:
    """A recipe, the facts of a run, and both with one value replaced or left out, or as other text."""
    good = {"format": "hatnet recipe", "version": 1, "recipe": asdict(RECIPE)}
    run = {"recipe": asdict(RECIPE), "hardware": {"threads per process": 1}}
    contents = [
        good,
        run,
        *(with_junk(good, generator) for _ in range(40)),
        *(with_junk(run, generator) for _ in range(10)),
    ]
    for name in asdict(RECIPE):
        contents += [good | {"recipe": asdict(RECIPE) | {name: junk}} for junk in generator.sample(JUNK, 3)]
    texts = [json.dumps(content) for content in contents]
    texts += ["[" * 5000, '{"recipe":' * 5000, "\udcff", "", "9" * 5000, '{"recipe": {"lr": 1e999}}', "\x00"]
    paths = []
    for index, text in enumerate(texts):
        paths.append(folder / f"recipe-{index}.json")
        paths[-1].write_bytes(text.encode(errors="surrogateescape"))
    return paths


def _with_header(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def records(folder: Path, generator: random.Random) -> list[Path]:
    """Kept records, smaller ones with one value anywhere replaced by junk, and files that are no records."""
    names = ("scaling-stage-0-cpu.json", "bench-inference-cpu.json", "ablation-subset-cpu.json", "faithfulness.json")
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
