"""Hostile values: of wrong types, shapes and sizes, and valid ones that are changed a little."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from hatnet.network import HATNet
from tests.fuzz.files import drawn
from tests.fuzz.networks import SMALL


def _changed_network():
    model = HATNet(SMALL)
    model.classifier = nn.Linear(4, 9)
    return model


def _complex_network():
    with warnings.catch_warnings(action="ignore"):  # such networks are new in PyTorch
        return HATNet(SMALL).to(torch.complex64)


def _tied_network():
    model = HATNet(SMALL)
    model.stages[0].blocks[0].mlp.norm_out.bias = model.stages[0].blocks[0].mlp.norm_out.weight
    return model


# Each is made anew for every case, since a function may change what it is given.
MAKERS = {
    "None": lambda: None,
    "True": lambda: True,
    "np.True_": lambda: np.bool_(True),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "7": lambda: 7,
    "2.5": lambda: 2.5,
    "8.0": lambda: 8.0,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "1e9": lambda: 10**9,
    "1e30": lambda: 10**30,
    "1j": lambda: 1j,
    "np.int64(3)": lambda: np.int64(3),
    "np.uint8(200)": lambda: np.uint8(200),
    "np.float32(0.5)": lambda: np.float32(0.5),
    "np.nan": lambda: np.float64("nan"),
    "empty text": lambda: "",
    "digit text": lambda: "8",
    "long text": lambda: "x" * 5000,
    "unicode": lambda: "Ø∂\u202e\n\x00",
    "bytes": lambda: b"ab",
    "[]": lambda: [],
    "()": lambda: (),
    "nested": lambda: [1, [2, [3]]],
    "pair": lambda: (2, 2),
    "zeros": lambda: (0, 0),
    "nan pair": lambda: (float("nan"), 2),
    "huge pair": lambda: (10**9, 10**9),
    "texts": lambda: ["a", "b"],
    "{}": lambda: {},
    "dict": lambda: {"a": 1, 2: None},
    "set": lambda: {1},
    "object": lambda: object(),
    "class": lambda: dict,
    "path": lambda: Path("no-such-file"),
    "folder": lambda: Path(),
    "0-d array": lambda: np.array(1.5),
    "empty array": lambda: np.zeros((0, 3)),
    "ints": lambda: np.arange(12).reshape(3, 4),
    "objects": lambda: np.array([None, "x"], dtype=object),
    "complex array": lambda: np.ones((3, 4, 6), dtype=complex),
    "nan array": lambda: np.full((3, 4, 6), np.nan),
    "huge array": lambda: np.full((3, 4, 6), 1e300),
    "texts array": lambda: np.array(["a"]),
    "array 3x4x6": lambda: np.ones((3, 4, 6)),
    "no rows": lambda: np.ones((0, 4, 6)),
    "masked": lambda: np.ma.masked_array(np.ones((3, 4, 6)), True),
    "0-d tensor": lambda: torch.tensor(1.0),
    "empty tensor": lambda: torch.zeros(0, 3, 16, 16),
    "int tensor": lambda: torch.ones(2, 3, 16, 16, dtype=torch.int64),
    "byte tensor": lambda: torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
    "complex tensor": lambda: torch.ones(2, 3, 16, 16, dtype=torch.complex64),
    "half tensor": lambda: torch.ones(2, 3, 16, 16, dtype=torch.bfloat16),
    "nan tensor": lambda: torch.full((1, 3, 16, 16), torch.nan),
    "meta tensor": lambda: torch.ones(2, 3, 16, 16, device="meta"),
    "sparse tensor": lambda: torch.eye(4).to_sparse(),
    "sparse images": lambda: torch.zeros(1, 3, 16, 16).to_sparse(),
    "strided tensor": lambda: torch.ones(16, 16, 3, 2).permute(3, 2, 1, 0),
    "gradient": lambda: torch.ones(2, 3, 16, 16, requires_grad=True),
    "linear": lambda: nn.Linear(2, 3),
    "complex linear": lambda: nn.Linear(2, 3, dtype=torch.complex64),
    "meta linear": lambda: nn.Linear(2, 3, device="meta"),
    "double network": lambda: HATNet(SMALL).double(),
    "changed network": _changed_network,
    "tied network": _tied_network,
    "training network": lambda: HATNet(SMALL).train(),
    "half network": lambda: HATNet(SMALL).half(),
    "meta network": lambda: HATNet(SMALL).to("meta"),
    "complex network": _complex_network,
    "config": lambda: SMALL,
    "image": lambda: Image.new("L", (1, 1)),
    "function": lambda: len,
}
hostile = st.sampled_from(list(MAKERS))  # a name, which a failing case prints


def changes(value: object) -> list[str]:
    """The names of the small changes that `change` can make to a value."""
    if isinstance(value, np.ndarray):
        return [
            "float32",
            "int",
            "complex",
            "transpose",
            "axis more",
            "axis less",
            "cut",
            "longer",
            "NaN",
            "1e300",
            "list",
        ]
    if isinstance(value, torch.Tensor):
        return ["float64", "int", "complex", "axis more", "axis less", "cut", "NaN", "meta", "sparse", "strided"]
    if isinstance(value, bool) or value is None:
        return ["text"]
    if isinstance(value, int | float):
        return ["negative", "half", "huge", "text", "numpy", "float", "list", "nan"]
    if isinstance(value, str):
        return ["empty", "longer", "path", "list"]
    if isinstance(value, Path):
        return ["text", "list"]
    if isinstance(value, tuple | list):
        return ["shorter", "longer", "list", "zero", "nan", "numpy"]
    if isinstance(value, dict):
        return ["shorter", "longer", "None inside", "NaN inside", "text inside", "list"]
    return ["list"]


def change(value, how: str):
    """A value with one small change."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return _change_array(value, how)
    if isinstance(value, dict):
        return _change_dict(value, how)
    if isinstance(value, tuple | list):
        new = {"shorter": value[:-1], "longer": (*value, *value[-1:]), "list": list(value), "zero": (0, *value[1:])}
        new |= {"nan": (float("nan"), *value[1:]), "numpy": np.array(value, dtype=object)}
        return new[how]
    if how == "list":
        return [value]
    if how == "text":
        return str(value)
    if isinstance(value, str):
        return {"empty": "", "longer": value + "x", "path": Path(value)}[how]
    new = {"negative": -value, "half": value + 0.5, "huge": 10**12, "numpy": np.asarray(value)[()]}
    new |= {"float": float(value), "nan": float("nan")}
    return new[how]


@np.errstate(all="ignore")
def _change_array(value, how: str):
    numpy = isinstance(value, np.ndarray)
    if not numpy and (value.layout != torch.strided or value.is_meta):
        return value
    if how in ("int", "complex", "float32", "float64"):
        kind = {"int": "int64", "complex": "complex64"}.get(how, how)
        value = value.real
        if numpy and value.dtype == object:
            return value
        return value.astype(kind) if numpy else value.to(getattr(torch, kind))
    if how == "NaN":
        value = value.copy() if numpy else value.clone()
        if value.size if numpy else value.numel():
            value.reshape(-1)[0] = float("nan") if value.dtype in (np.float64, torch.float32, torch.float64) else 0
        return value
    new = {
        "transpose": lambda: value.T.copy(),
        "axis more": lambda: value[None],
        "axis less": lambda: value[0] if value.ndim and len(value) else value,
        "cut": lambda: value[..., :-1] if value.ndim else value,
        "longer": lambda: np.concatenate([value, value], axis=-1) if value.ndim else value,
        "1e300": lambda: value * 1e300,
        "list": lambda: value.tolist(),
        "meta": lambda: value.to("meta"),
        "sparse": lambda: value.to_sparse(),
        "strided": lambda: value.transpose(0, -1) if value.ndim else value,
    }
    return new[how]()


def _change_dict(value: dict, how: str):
    value = dict(value)
    if how == "list":
        return list(value)
    if how == "longer":
        return value | {"extra.weight": np.ones(2)}
    if value:
        name = list(value)[len(value) // 2]
        if how == "shorter":
            del value[name]
        elif how == "NaN inside":
            value[name] = _change_array(value[name], "NaN") if isinstance(value[name], np.ndarray) else float("nan")
        else:
            value[name] = {"None inside": None, "text inside": "x"}[how]
    return value


class Call:
    """Arguments of one call. Its text is short and is enough to make them again."""

    def __init__(self, sizes: SimpleNamespace, given: dict, changed: dict[str, str]) -> None:
        self.sizes, self.given = sizes, given
        self.changed = changed  # how each argument was replaced or changed

    def __repr__(self) -> str:
        return f"Call(sizes={vars(self.sizes)}, changed={self.changed})"


@st.composite
def calls(
    draw,
    sizes: st.SearchStrategy[SimpleNamespace],
    valid: Callable[[SimpleNamespace], dict],
    files: Mapping[str, Sequence[Path]] = {},
):
    """A call with valid arguments, of which none, one or two are replaced or changed.

    `files` are other files by the name of the argument that is a path; damaged copies are written into this folder.
    """
    chosen = draw(sizes)
    given, changed = dict(valid(chosen)), {}
    names = sorted(given)
    count = draw(st.sampled_from([0, 1, 1, 1, 2])) if names else 0
    for name in draw(st.lists(st.sampled_from(names), min_size=count, max_size=count)) if names else ():
        if name in files and draw(st.integers(0, 3)):
            given[name], changed[name] = _file(draw, files[name], given[name])
        elif draw(st.booleans()):
            changed[name] = draw(hostile)
            given[name] = MAKERS[changed[name]]()
        else:
            how = draw(st.sampled_from(changes(given[name])))
            changed[name] = f"{changed.get(name, '')} changed: {how}".strip()
            given[name] = change(copy.copy(given[name]), how)
    return Call(chosen, given, changed)


def _file(draw, paths: Sequence[Path], valid: object) -> tuple[object, str]:
    """Another file, of the type of the valid one, and words for it."""
    number = draw(st.integers(0, 2**32 - 1))
    path, content = drawn(paths, number)
    if content is not None:
        Path(path).write_bytes(content)
    if isinstance(valid, str) and valid.startswith("folder:"):
        return f"folder:{path}", f"folder:{path}"
    return (path if isinstance(valid, str) else Path(path)), f"file {path}, number {number}"
