"""Complexity in closed form: what HAT-Net and its relatives cost, exactly, without running them.

Pure Python integers. `tests/studies/test_complexity.py` counts the same products while both implementations run, and
`tests/studies/test_memory.py` measures the memory.
"""

from hatnet.complexity.attention import equation_5, equation_15, h_mhsa, mhsa, pvt, pvt_v2_linear, swin, twins
from hatnet.complexity.cost import Cost
from hatnet.complexity.memory import attention_weights, inference_memory, reference_memory, training_memory
from hatnet.complexity.network import Part, network, total

__all__ = [
    "Cost",
    "Part",
    "attention_weights",
    "equation_5",
    "equation_15",
    "h_mhsa",
    "inference_memory",
    "mhsa",
    "network",
    "pvt",
    "pvt_v2_linear",
    "reference_memory",
    "swin",
    "total",
    "training_memory",
    "twins",
]
