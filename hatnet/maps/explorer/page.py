"""The explorer as one HTML file that needs nothing else, from prepared pictures or straight from a model."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.files import write_whole
from hatnet.maps.explorer.arrays import require_openable
from hatnet.maps.explorer.file_format import encode
from hatnet.maps.explorer.pictures import Normalise, Picture, Start, picture_from_model, require_label
from hatnet.network import HATNet

FOLDER = Path(__file__).parent
PARTS = (
    "decode", "library", "rows", "numbers", "formulas", "scale", "drawing", "state", "address", "words", "explanation",
    "controls", "element",
)  # fmt: skip
ABOUT = """/* <attention-explorer>: the softmax rows of a network, under the pointer.
 *
 *   <attention-explorer src="maps.bin" linked></attention-explorer>
 *
 * or with the data inside the element, as base64 in a <script type="application/gzip;base64">. The data are written by
 * hatnet.maps.explorer. With an index (.json) of several networks as `src`, two of them are shown side by side. With
 * `linked`, the page's address holds the view. No dependency, and no request except for `src` and what it names. */
"""
READING = (
    "In HAT-Net a token attends to the single tokens of its own window (near) and to the whole image in merged cells "
    "(far). Rollout and class maps cover the whole network. Choose a token in the picture on the left, with the "
    "pointer or the arrow keys; a click keeps it. Then choose one of its weights on the right. Every number is an "
    "entry of a softmax row, or computed from such entries as the formula beside it shows. Of long sums, the first "
    "terms are written out."
)
NO_SCRIPT = "The maps are drawn by JavaScript, which is switched off here."


def explorer_script() -> str:
    """The script of the element: the files of `script/` joined into one JavaScript module."""
    style = (FOLDER / "script" / "style.css").read_text(encoding="utf-8")
    parts = [(FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8") for name in PARTS]
    return "\n".join([ABOUT, f"const STYLE = `\n{style}`;\n", *parts])


def write_explorer(
    path: str | Path,
    pictures: Picture | Sequence[Picture],
    *,
    config: HATNetConfig,
    provenance: str,
    title: str = "",
    start: Start | None = None,
) -> None:
    """Write an explorer as one HTML file that requests nothing, whole or not at all; arguments as in `encode`."""
    pictures = [pictures] if isinstance(pictures, Picture) else pictures
    data = encode(pictures, config=config, provenance=provenance, start=start)
    title = title or f"What HAT-Net {config.name.capitalize()} looks at"
    body = f"<h1>{escape(title)}</h1>\n<p>{READING}</p>\n{explorer_element(data, f'<p>{NO_SCRIPT}</p>')}"
    write_whole(Path(path), html_page(title, body).encode())


def write_maps(
    path: str | Path,
    model: HATNet,
    images: NDArray[np.float64],
    *,
    names: Sequence[str],
    provenance: str,
    classes: Sequence[str] = (),
    labels: Sequence[int] = (),
    normalise: Normalise | None = None,
    start: Start | None = None,
) -> None:
    """Run a model on images (B, C, H, W) in [0, 1] and write its maps, as HTML if `path` ends in .html, else as data.

    `names` and the true classes `labels` have one entry for each image. Without names of `classes` no prediction is
    shown. `normalise` turns (C, H, W) in [0, 1] into the input of the model.

    Raises ValueError as `encode` and `attention_maps` do; before the model runs if images, names or labels do not fit.
    """
    if np.ndim(images) != 4:
        raise ValueError(f"images must be (B, C, H, W), got {np.shape(images)}; image[None] makes a batch of one")
    require_openable(model.config, images.shape[2], images.shape[3], len(images))
    for what, given in (("names", len(names)), ("labels", len(labels) or len(images))):
        if given != len(images):
            raise ValueError(f"{given} {what} are given for {len(images)} images")
    known: Sequence[int | None] = [int(label) for label in labels] or [None] * len(images)
    for name, label in zip(names, known, strict=True):
        require_label(name, label, model.config, classes)
    pictures = [
        picture_from_model(model, image, name, classes=classes, label=label, normalise=normalise)
        for image, name, label in zip(images, names, known, strict=True)
    ]
    if Path(path).suffix.lower() == ".html":
        write_explorer(path, pictures, config=model.config, provenance=provenance, start=start)
    else:
        write_whole(Path(path), encode(pictures, config=model.config, provenance=provenance, start=start))


def explorer_element(data: bytes, fallback: str, linked: bool = True) -> str:
    """The element with the `data` of `encode` inside, and `fallback` for readers without JavaScript, as HTML.

    `linked`: whether the page's address holds its view, which only one explorer of a page can have.
    """
    text = b64encode(data).decode("ascii")
    script = f'<script type="application/gzip;base64">{text}</script>'
    return f"<attention-explorer{' linked' * linked}>{script}\n{fallback}</attention-explorer>"


def html_page(title: str, body: str) -> str:
    """A page with the explorer's script and style, a title (text) and a body (HTML). Browsers load nothing else."""
    script = explorer_script()
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{(FOLDER / "page.css").read_text(encoding="utf-8")}</style>
<script type="module">{script}</script>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
