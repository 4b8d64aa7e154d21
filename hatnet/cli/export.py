"""The command `hatnet export`: a network as a file for PyTorch (.pt2) or for ONNX Runtime and others (.onnx)."""

from pathlib import Path
from typing import Any

from hatnet.cli.console import console, plain, print_path
from hatnet.cli.output_files import require_writable
from hatnet.cli.weights import WEIGHTS_OWN, WindowOptions, Windows, open_source
from hatnet.export import SUFFIXES, require_exportable
from hatnet.export import export as write
from hatnet.files import expand_home
from hatnet.weights.checkpoints import holds_task
from hatnet.weights.pretrained import existing_weights


def export(
    weights: str | None = None,
    variant: str | None = None,
    out: Path | None = None,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
    windows: Windows = WEIGHTS_OWN,
) -> None:
    """Write a network to a file that runs without this package, and compare the file with the network.

    The file takes any number of images, and holds the names of the classes, mean, std and image size. A file for
    segmentation takes pixels in [0, 1] and normalises them itself. Detectors cannot be exported.

    Args:
        weights: fashion-mnist (comes with the package), a file of ours (.safetensors) or of the authors (.pth), or the
            folder of a run; random weights if none are given.
        variant: tiny, small, medium, large or micro; by default that of the weights, or tiny.
        out: the file to write, .pt2 for torch.export or .onnx for ONNX (needs the extra export). The default is the
            name of the network with .pt2.
        image_size: height and width in pixels, for a file of a single size; any size if not given.
        seed: of the random weights.
        windows: G1, G2 and strides.
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{out.name!r} has no known suffix: give --out a name with .pt2 (PyTorch) or .onnx (ONNX)")
    inputs = (existing_weights(weights),) if weights is not None else ()
    model, words, facts = _opened(weights, windows, variant, seed)
    out = expand_home(out or f"{model.config.name}.pt2")
    require_writable("--out", out, f"{model.config.name}.onnx", inputs)
    require_exportable(model, out, image_size)
    console.print(plain(words))
    console.print("Exporting takes from ten seconds to some minutes, with the number of blocks.")
    deviation = write(model, out, facts, image_size)
    if deviation is None:
        console.print("Not compared with the network: onnxruntime is missing (python -m pip install 'hatnet[export]').")
    else:
        console.print(f"The file and the network agree: their logits differ by {deviation:.1e} of the largest at most.")
    print_path(out)


def _opened(weights: str | None, windows: WindowOptions, variant: str | None, seed: int) -> tuple[Any, str, Any]:
    """The network, a sentence about its weights, and the facts for the file."""
    file = None if weights is None else existing_weights(weights)
    if file is not None and holds_task(file) not in (None, "classification"):
        from hatnet.dense.source import find_dense

        if variant is not None:
            raise ValueError(f"{weights} holds a model with its variant; leave --variant out")
        dense = find_dense(file, windows.changes)
        for line in dense.changes:
            console.print(plain(line))
        return dense.model, dense.words, dense.about
    source = open_source(weights, windows, variant, seed)
    facts = {"mean": list(source.mean), "std": list(source.std), "image_size": source.image_size}
    return source.model, source.words, facts | source.about
