"""Write a network to a file that runs without this package: `.pt2` for PyTorch, `.onnx` for ONNX Runtime and others.

`torch.export` turns the forward pass into one graph, with unknown sizes if wanted; ONNX is made from that graph. Both
kinds of file carry the facts that a user of the file needs, as JSON under the name `hatnet`.
"""

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hatnet.checks import require_type, require_whole, shown
from hatnet.equivalence import TOLERANCES, relative_error
from hatnet.files import expand_home, write_whole
from hatnet.network import Backbone, HATNet, require_network
from hatnet.weights.facts import check_about

__all__ = ["export", "facts_of", "program"]

SUFFIXES = (".pt2", ".onnx")
FACTS = "hatnet"  # the name of the facts in a file
LARGEST_SIDE = 2**16  # pixels
LARGEST_ONNX = 2**31 - 2**24  # bytes of parameters: the format allows 2 GiB, graph included
PACKAGES = ("onnx", "onnxscript")
ONE_SIZE_ONLY = ("2.11.", "2.12.")  # versions of PyTorch whose graphs for any size refuse most sizes

Size = tuple[int, int]

if TYPE_CHECKING:
    from hatnet.dense import SemanticFPN

    Exportable = HATNet | SemanticFPN
else:  # hatnet.dense imports torchvision
    Exportable = nn.Module


def export(
    model: Exportable,
    path: str | os.PathLike[str],
    about: Mapping[str, Any] | None = None,
    image_size: Size | None = None,
) -> float | None:
    """Write a network to a `.pt2` or `.onnx` file, for batches of any number of images, and compare it with the model.

    Args:
        model: a HAT-Net or a `SemanticFPN` in evaluation mode, float32 for ONNX. The file holds its device too.
        path: the file; its suffix chooses the format. It is written completely or not at all.
        about: facts to keep in the file, such as `classes`, `mean`, `std` and `image_size`; see `checkpoints.about`.
        image_size: height and width in pixels. None accepts every size from `config.min_image_size`; a graph for a
            single size is smaller, and its windows need no mask where G1 divides the map.

    Returns the largest deviation of the file's logits from the model's on random images, max |difference| /
    max |logit|; None if the file is ONNX and onnxruntime is not installed. The file has one input, `image`
    (B, C_in, H, W), and one output, `logits` (B, classes); for segmentation pixels in [0, 1], and logits
    (B, classes, H, W).

    Raises ValueError for another suffix, a model in training mode, an impossible size, and if packages are missing, all
    before any work; also, without writing a file, if the deviation is above the limit of its dtype.
    """
    path = expand_home(os.fspath(path))
    require_exportable(model, path, image_size)
    facts = json.dumps(facts_of(model, about))
    exported = program(model, image_size)
    content = _pt2(exported, facts) if path.suffix.lower() == ".pt2" else _onnx(exported, facts)
    found = _deviation(model, path.suffix.lower(), content, image_size)
    limit = TOLERANCES[next(model.parameters()).dtype]
    if found is not None and not found <= limit:
        raise ValueError(f"the exported network differs from the model by {found:.1e}, more than {limit:.0e}")
    write_whole(path, content)
    return found


def program(model: Exportable, image_size: Size | None = None) -> ExportedProgram:
    """The network as one graph of `torch.export`, for any batch, and any size unless `image_size` is given.

    The example has two images, and a size at which height, width and batch differ: `torch.export` takes equal sizes for
    the same one, and one image for a constant. Errors as in `export`.

    >>> from hatnet.models import create_model
    >>> graph = program(create_model("micro", depths=(1, 1, 1)).eval(), image_size=(45, 32)).module()
    >>> graph(torch.zeros(5, 3, 45, 32)).shape
    torch.Size([5, 10])
    """
    require_exportable(model, None, image_size)
    least, weight = model.config.min_image_size, _body(model).stem.conv1.weight
    height, width = image_size or (4 * least + 1, 4 * least + 3)
    example = torch.zeros(2, model.config.in_channels, height, width, dtype=weight.dtype, device=weight.device)
    from torch.fx.experimental import _config

    # The checks that remain when the sizes are unknown hold for every size; they run with the graph.
    with _quiet(), _config.patch(backed_size_oblivious=True), torch.no_grad():  # type: ignore[attr-defined]
        exported = torch.export.export(
            model,
            (example,),
            dynamic_shapes=(_dimensions(model, image_size),),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    if image_size is None:
        _accept_smallest(exported, least)
    return exported


def _body(model: Exportable) -> Backbone:
    """The HAT-Net itself, in a model for segmentation its backbone."""
    body: Backbone = model if isinstance(model, HATNet) else model.backbone.body
    return body


def _dimensions(model: Exportable, image_size: Size | None) -> dict[int, Any]:
    if image_size is not None:
        return {0: Dim("batch")}
    least = model.config.min_image_size + 1
    return {0: Dim("batch"), 2: Dim("height", min=least), 3: Dim("width", min=least)}


def _accept_smallest(exported: ExportedProgram, least: int) -> None:
    """Let a graph for any size, which starts at `least` + 1 pixels, start at `least`, where the last map has one token.

    While it records, `torch.export` needs sides of two tokens, but only to choose the memory format of a convolution.
    The operations are the same; `export` compares the file with the model at this size, too.
    """
    for size, pixels in exported.range_constraints.items():
        if pixels.lower == least + 1:
            exported.range_constraints[size] = type(pixels)(least, pixels.upper)


def require_exportable(model: Exportable, path: Path | None, image_size: Size | None = None) -> None:
    """Raise what `export` raises before any work; with None as path, what `program` does."""
    require_network(model)
    if getattr(model, "task", None) in ("detection", "instances"):
        raise ValueError(
            f"a {type(model).__name__} cannot be exported: the number of its objects depends on the image, and a graph "
            "has outputs of known shape. Networks for classification and segmentation can be exported"
        )
    if not isinstance(model, HATNet) and type(model).__name__ != "SemanticFPN":
        raise TypeError(f"model must be a HATNet or a SemanticFPN that is not compiled, got {type(model).__name__}")
    if model.training:
        raise ValueError("the network is in training mode, in which dropout is random; call model.eval() first")
    if image_size is not None:
        _require_size(model, image_size)
    elif version("torch").startswith(ONE_SIZE_ONLY):
        raise ValueError(
            f"PyTorch {version('torch')} cannot export for any size: give image_size (--image-size), or update PyTorch"
        )
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path.name!r} has no suffix that names a format: .pt2 for PyTorch (torch.export), .onnx for ONNX"
        )
    if path.suffix.lower() == ".onnx":
        _require_onnx(model)


def _require_size(model: Exportable, image_size: Size) -> None:
    if not isinstance(image_size, Sequence) or len(image_size) != 2:
        raise ValueError(f"image_size={shown(image_size)} must be two whole numbers, height and width in pixels")
    for side in image_size:
        require_whole("image_size", side, 1, LARGEST_SIDE)
    model.config.layout(*image_size)  # raises if the image is too small


def _require_onnx(model: Exportable) -> None:
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise ValueError(f"an ONNX file needs {' and '.join(missing)}: python -m pip install 'hatnet[export]'")
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        raise ValueError(f"the parameters are {dtype}; ONNX Runtime needs float32 on a CPU: model.float()")
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if size > LARGEST_ONNX:
        raise ValueError(f"the parameters take {size:,} bytes; an ONNX file holds at most 2 GiB, so write a .pt2 file")


def facts_of(model: Exportable, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The facts in an exported file: `network`, `min_image_size`, and those of `about`. ValueError for invalid ones.

    A file for segmentation has `task` and no mean and std: it takes pixels in [0, 1].
    """
    require_network(model)
    if about is not None:
        require_type("about", about, Mapping, "a table of facts by name")
    check_about(about or {}, model.config)
    own = {"network": model.config.name, "min_image_size": model.config.min_image_size}
    if not isinstance(model, HATNet):  # it normalises images itself, so the facts must not ask for it
        return own | {"task": "segmentation"} | {k: v for k, v in (about or {}).items() if k not in ("mean", "std")}
    return own | dict(about or {})


def _pt2(exported: ExportedProgram, facts: str) -> bytes:
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(exported, buffer, extra_files={FACTS: facts})
    return buffer.getvalue()


def _onnx(exported: ExportedProgram, facts: str) -> bytes:
    with _quiet():
        written = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["logits"],
            custom_translation_table={torch.ops.aten.layer_norm.default: _layer_norm},
        )
    assert written is not None
    written.model.metadata_props[FACTS] = facts
    (image,), (logits,) = written.model.graph.inputs, written.model.graph.outputs
    for value, names in ((image, ("batch", "", "height", "width")), (logits, ("batch", "", "height", "width"))):
        assert value.shape is not None
        known = [size if isinstance(size, int) else name for size, name in zip(value.shape, names, strict=False)]
        value.shape = type(value.shape)(known)
    return written.model_proto.SerializeToString()


def _layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: float = 1e-5, _: bool = True) -> Any:
    """`F.layer_norm` of maps (B, H, W, C) in ONNX: means over C, then W, then H.

    ONNX Runtime adds up all numbers of its own LayerNormalization one by one in float32. On maps of a large image the
    logits then differ by 1e-4.
    """
    from onnxscript import opset18 as op

    def mean(values: Any) -> Any:
        for axis in (3, 2, 1):
            values = op.ReduceMean(values, op.Constant(value_ints=[axis]))  # type: ignore[arg-type]
        return values

    centred = op.Sub(x, mean(x))
    normed = op.Div(centred, op.Sqrt(op.Add(mean(op.Mul(centred, centred)), op.Constant(value_float=eps))))
    return op.Add(op.Mul(normed, weight), bias)


def _deviation(model: Exportable, suffix: str, content: bytes, image_size: Size | None) -> float | None:
    """The largest relative error of the file's logits, over batches of several sizes; None if it cannot run here."""
    if suffix == ".onnx" and find_spec("onnxruntime") is None:
        return None
    least, weight = model.config.min_image_size, _body(model).stem.conv1.weight
    sizes = [image_size] * 2 if image_size else [(least, least), (7 * least, 7 * least), (4 * least + 3, least + 1)]
    run, errors, generator = reader(suffix, content), [], torch.Generator().manual_seed(0)
    for batch, size in enumerate(sizes, start=1):
        image = torch.randn(batch, model.config.in_channels, *size, generator=generator).to(weight)
        with torch.no_grad():
            errors.append(relative_error(run(image).cpu(), model(image).cpu()))
    return max(errors)


def reader(suffix: str, content: bytes) -> Any:
    """A function from images to logits that computes with the content of a file alone."""
    if suffix == ".pt2":
        with _quiet():
            return torch.export.load(io.BytesIO(content)).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"image": image.cpu().numpy()})[0])

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings and notes of the exporters, which concern their own code."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
