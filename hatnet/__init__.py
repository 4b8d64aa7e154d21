"""Vision Transformers with Hierarchical Attention (H-MHSA, HAT-Net) in PyTorch."""

# ruff: noqa: E402
from hatnet.environment import set_command_defaults

set_command_defaults()  # before the imports below load PyTorch

from hatnet.attention import MHSA
from hatnet.config import VARIANTS, HATNetConfig, get_config
from hatnet.equivalence import to_numpy
from hatnet.hierarchical_attention import HMHSA
from hatnet.models import create_model
from hatnet.network import Backbone, HATNet
from hatnet.weights.checkpoints import CheckpointError, load, save
from hatnet.weights.official import load_official

__all__ = [
    "HMHSA",
    "MHSA",
    "VARIANTS",
    "Backbone",
    "CheckpointError",
    "HATNet",
    "HATNetConfig",
    "create_model",
    "get_config",
    "load",
    "load_official",
    "save",
    "to_numpy",
]
