"""The networks to measure: HAT-Net, the authors' formulation of it, and related networks from timm.

Accuracies are the published top-1 accuracies on ImageNet-1K at 224 x 224 pixels, without other labelled data.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from hatnet.config import VARIANTS, get_config
from hatnet.network import HATNet
from hatnet.studies.bench.authors import AuthorsFormulation

Family = Literal["hatnet", "authors", "timm"]


@dataclass(frozen=True)
class Network:
    """One network, how it is built and what was published about it."""

    label: str
    family: Family
    model: str  # the variant, or the name in timm
    colour: str
    marker: str
    accuracy: float | None = None  # published top-1 in %
    source: str = ""
    channels_last: bool = False  # the layout of maps in memory that is faster for this network of convolutions
    recompute: bool = False  # the backward pass computes the widest maps again

    def build(self, size: int, seed: int = 0) -> nn.Module:
        """The network with fresh weights for images of `size` pixels. Raises ValueError if timm cannot build it."""
        torch.manual_seed(seed)
        if self.family == "timm":
            return _from_timm(self.model, size)
        model = HATNet(get_config(self.model))
        model.recompute_mlps(self.recompute)
        return AuthorsFormulation(model) if self.family == "authors" else model


def _from_timm(name: str, size: int) -> nn.Module:
    import timm

    published = timm.get_pretrained_cfg(name)
    assert published is not None
    sizes: dict[str, Any] = {} if size == published.input_size[-1] else {"img_size": size}
    try:
        return timm.create_model(name, **sizes)
    except TypeError:  # a network of convolutions, which takes any size and has no such argument
        return timm.create_model(name)
    except Exception as error:
        raise ValueError(f"timm cannot build {name} for {size} pixels: {error}") from error


def require_timm(names: tuple[str, ...]) -> None:
    """Raise a ValueError if networks of timm are requested and timm is not installed."""
    missing = [name for name in names if NETWORKS[name].family == "timm"]
    if missing and find_spec("timm") is None:
        raise ValueError(f"{', '.join(missing)} needs timm: python -m pip install 'hatnet[bench]'")


PAPER = "HAT-Net, Table 2"
PUBLISHED = {"tiny": 79.8, "small": 82.6, "medium": 84.0, "large": 84.2}  # of HAT-Net


def _hatnets() -> dict[str, Network]:
    found = {}
    for variant in VARIANTS:
        accuracy = PUBLISHED.get(variant)
        source = PAPER if accuracy else ""
        title = variant.capitalize()
        found[variant] = Network(f"HAT-Net {title}", "hatnet", variant, "#c2185b", "o", accuracy, source)
        found[f"authors-{variant}"] = Network(f"authors' {title}", "authors", variant, "#7b1fa2", "s", accuracy, source)
        found[f"{variant}-recompute"] = Network(
            f"HAT-Net {title} (recomputed)", "hatnet", variant, "#ef6c00", "P", accuracy, source, recompute=True
        )
    return found


NETWORKS: dict[str, Network] = {
    **_hatnets(),
    "resnet50": Network(
        "ResNet-50", "timm", "resnet50", "#455a64", "v", 80.4, "ResNet strikes back, A1, arXiv 2110.00476",
        channels_last=True,
    ),
    "convnext_tiny": Network(
        "ConvNeXt-T", "timm", "convnext_tiny", "#5d4037", "^", 82.1, "ConvNeXt, arXiv 2201.03545", channels_last=True
    ),
    "swin_tiny_patch4_window7_224": Network(
        "Swin-T", "timm", "swin_tiny_patch4_window7_224", "#1565c0", "D", 81.3, "Swin, arXiv 2103.14030"
    ),
    "hiera_tiny_224": Network(
        "Hiera-T", "timm", "hiera_tiny_224", "#00838f", "X", 82.8, "Hiera, pretrained by MAE, arXiv 2306.00989"
    ),
    "pvt_v2_b1": Network("PVTv2-B1", "timm", "pvt_v2_b1", "#2e7d32", "<", 78.7, "PVTv2, arXiv 2106.13797"),
    "pvt_v2_b2": Network("PVTv2-B2", "timm", "pvt_v2_b2", "#2e7d32", ">", 82.0, "PVTv2, arXiv 2106.13797"),
    "twins_svt_small": Network(
        "Twins-SVT-S", "timm", "twins_svt_small", "#9e9d24", "h", 81.7, "Twins, arXiv 2104.13840"
    ),
}  # fmt: skip

DEFAULT = (
    "tiny",
    "small",
    "authors-tiny",
    "authors-small",
    *(name for name, network in NETWORKS.items() if network.family == "timm"),
)
