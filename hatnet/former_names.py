"""Translate parameter names of earlier versions, so that older files keep loading.

The halves of H-MHSA are modules now; `attention.local_qkv`, for instance, became `attention.local_attention.qkv`.
"""

from typing import Any

from torch import nn

CURRENT = {  # former name: current name
    "local_qkv": "local_attention.qkv",
    "merge_norm": "merge.norm",
    "global_q": "global_attention.q",
    "global_kv": "global_attention.kv",
}


def current_name(name: str) -> str:
    """The current name of a parameter; a prefix, such as a key of the optimiser's state, does not matter."""
    return ".".join(CURRENT.get(part, part) for part in name.split("."))


def former_name(name: str) -> str:
    """The inverse of `current_name`."""
    for former, current in CURRENT.items():
        name = f".{name}".replace(f".{current}.", f".{former}.").removeprefix(".")
    return name


def accept_former_names(module: nn.Module) -> None:
    """Let `load_state_dict` accept former names of the parameters of `module`."""
    module.register_load_state_dict_pre_hook(_rename)


def _rename(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for former, current in CURRENT.items():
        for kind in ("weight", "bias"):
            if f"{prefix}{former}.{kind}" in state_dict:
                state_dict[f"{prefix}{current}.{kind}"] = state_dict.pop(f"{prefix}{former}.{kind}")
