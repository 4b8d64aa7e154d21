"""Vision Transformers with Hierarchical Attention (H-MHSA, HAT-Net) in PyTorch."""

import sys
from typing import TYPE_CHECKING, Any

from hatnet.environment import asks_for_help, is_command, set_command_defaults

set_command_defaults()  # before the imports below load PyTorch

if not (is_command(sys.orig_argv) and asks_for_help(sys.argv[1:])):  # `hatnet --help` does not wait for PyTorch
    from hatnet.attention import MHSA
    from hatnet.config import VARIANTS, HATNetConfig, get_config
    from hatnet.equivalence import to_numpy
    from hatnet.hierarchical_attention import HMHSA
    from hatnet.models import create_model, load
    from hatnet.network import Backbone, HATNet
    from hatnet.weights.checkpoints import CheckpointError, save
    from hatnet.weights.official import load_official
    from hatnet.weights.windows import change_windows

if TYPE_CHECKING:
    from hatnet.maps.prediction import predict

__all__ = [
    "HMHSA",
    "MHSA",
    "VARIANTS",
    "Backbone",
    "CheckpointError",
    "HATNet",
    "HATNetConfig",
    "change_windows",
    "create_model",
    "get_config",
    "load",
    "load_official",
    "predict",
    "save",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    """Import `predict` when it is first used: it needs the extras `cli` and `train`, the rest does not."""
    if name == "predict":
        from hatnet.maps.prediction import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
