"""One HTML file with everything in it, and from a model to it in one call."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.files import write_whole
from hatnet.maps.explorer.binary import ClassMap, Picture, Start, encode, require_openable

if TYPE_CHECKING:
    from hatnet.maps import AttentionMaps
    from hatnet.network import HATNet

SCRIPT = Path(__file__).with_name("attention-explorer.js")  # the one copy; the site's build takes it from here
STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2127; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e6e1; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: clamp(14px, 3vw, 36px) clamp(12px, 3vw, 28px); }
h1 { font-size: clamp(22px, 4vw, 32px); font-weight: 600; letter-spacing: -0.015em; margin: 0 0 8px; }
p { max-width: 72ch; margin: 0 0 14px; }
"""
READING = (
    "In HAT-Net a token attends to the tokens of its own window one by one (local), and to the whole image in merged "
    "cells (global). Rollout and the map of a class are of the whole network. "
    "Choose a token in the picture on the left, with the pointer or with arrow keys; a click keeps it. "
    "Then choose one of its weights on the right. Every number is an entry of a softmax row, or computed from such "
    "entries as the formula beside it says; of long sums the first terms are written out."
)


def write_explorer(
    path: str | Path,
    pictures: Picture | Sequence[Picture],
    *,
    config: HATNetConfig,
    provenance: str,
    title: str = "",
    start: Start | None = None,
) -> None:
    """Write an explorer as one HTML file, whole or not at all.

    It asks nobody for anything and its browser is told to refuse it if it did, so it can be sent and opened anywhere.

    Args:
        path: of the file; one that exists is replaced.
        pictures: one, or several of one size to choose from.
        config: of the network.
        provenance: a sentence that says where the weights come from, such as "Random weights, seed 0."
        title: of the page.
        start: what is shown first.

    Raises:
        ValueError: as `encode` does.
    """
    pictures = [pictures] if isinstance(pictures, Picture) else pictures
    data = encode(pictures, config=config, provenance=provenance, start=start)
    write_whole(Path(path), _page(title or f"What HAT-Net {config.name.capitalize()} looks at", data).encode())


def write_maps(
    path: str | Path,
    model: HATNet,
    images: NDArray[np.float64],
    *,
    names: Sequence[str],
    provenance: str,
    classes: Sequence[str] = (),
    labels: Sequence[int] = (),
    normalise: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    start: Start | None = None,
) -> None:
    """Show images to a model and write what it looked at: HTML where `path` ends so, else data for `src`.

    Args:
        path: `explorer.html`, or `maps.bin` for `<attention-explorer src="maps.bin">`.
        model: used in evaluation mode.
        images: (B, C, H, W) in [0, 1].
        names: of the images.
        provenance: a sentence that says where the weights come from.
        classes: the names of the classes; without, no prediction is shown, as there is none worth showing.
        labels: the true class of each image, a list or an array, where it is known.
        normalise: from (C, H, W) in [0, 1] to what the model takes; None where it takes that.
        start: what is shown first.

    Raises:
        ValueError: as `encode` and `attention_maps` do. Before the model runs, for more than a browser opens, for
            images of another shape, if names or labels are too few or too many, and for a label that is no class.
    """
    path = Path(path)
    if np.ndim(images) != 4:
        raise ValueError(f"images must be (B, C, H, W), got {np.shape(images)}; image[None] makes a batch of one")
    require_openable(model.config, images.shape[2], images.shape[3], len(images))
    for what, given in (("names", len(names)), ("labels", len(labels) or len(images))):
        if given != len(images):
            raise ValueError(f"{given} {what} are given for {len(images)} images")
    known: Sequence[int | None] = [int(label) for label in labels] or [None] * len(images)
    for name, label in zip(names, known, strict=True):
        _require_label(name, label, model.config, classes)
    pictures = [
        look(model, image, name, classes=classes, label=label, normalise=normalise)
        for image, name, label in zip(images, names, known, strict=True)
    ]
    if path.suffix.lower() == ".html":
        write_explorer(path, pictures, config=model.config, provenance=provenance, start=start)
    else:
        write_whole(path, encode(pictures, config=model.config, provenance=provenance, start=start))


def look(
    model: HATNet,
    image: NDArray[np.float64],
    name: str,
    *,
    classes: Sequence[str] = (),
    label: int | None = None,
    normalise: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Picture:
    """Show one image (C, H, W) in [0, 1] to a model; arguments as in `write_maps`."""
    import torch

    from hatnet.maps import attention_maps

    taken = torch.from_numpy(image if normalise is None else normalise(image)).to(next(model.parameters()))
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return picture_of(attention_maps(model, taken), shown, name, classes=classes, label=label)


def picture_of(
    maps: AttentionMaps,
    image: NDArray[np.floating[Any]],
    name: str,
    *,
    classes: Sequence[str] = (),
    label: int | None = None,
    asked: int | None = None,
) -> Picture:
    """Everything that an explorer shows of one image. For the class maps, the network runs again with gradients.

    Args:
        maps: of the one image, not of a batch.
        image: (H, W) or (H, W, 3), in [0, 1], as the network saw it.
        name: of the image.
        classes: the names of the classes; without, no prediction is shown, as there is none worth showing.
        label: the true class, where it is known. It has a class map too, where the network answers another.
        asked: a class whose map is shown first; without, that of the answer.

    Raises:
        ValueError: for a label that is no class.
    """
    _require_label(name, label, maps.config, classes)
    scores = np.exp(maps.logits - maps.logits.max())
    probabilities = scores / scores.sum()
    best = np.argsort(-probabilities)[:3]
    answer = int(best[0])
    roles = {answer: "the network's answer"}
    if label is not None:
        roles[label] = "the true class" if label != answer else f"{roles[answer]}, and true"
    if asked is not None:
        roles = {asked: roles.get(asked, "the class asked for"), **roles}  # in front
    return Picture(
        name=name,
        image=image,
        weights=maps.weights,
        predictions={classes[index]: float(probabilities[index]) for index in best if index < len(classes)},
        label="" if label is None or not classes else classes[label],
        rollout=maps.rollout(),
        class_maps=[
            ClassMap(classes[index] if index < len(classes) else f"class {index}", maps.class_map(index), role)
            for index, role in roles.items()
        ],
    )


def _require_label(name: str, label: int | None, config: HATNetConfig, classes: Sequence[str]) -> None:
    """Raise a ValueError for a true class that the network does not have, or that has no name where others have."""
    count = min(config.num_classes, len(classes) or config.num_classes)
    if label is not None and not 0 <= label < count:
        raise ValueError(
            f"label {label} of {name!r} is not the number of a class: the network has {config.num_classes}, counted "
            f"from 0, and {len(classes) or 'none'} of them are named"
        )


def _page(title: str, data: bytes) -> str:
    script = SCRIPT.read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
<script type="module">{script}</script>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>{READING}</p>
<attention-explorer><script type="application/gzip;base64">{b64encode(data).decode("ascii")}</script>
<p>The maps are drawn by JavaScript, which is switched off here.</p></attention-explorer>
</main>
</body>
</html>
"""
