"""Complexity in closed form: the exact cost of HAT-Net and its parts, without running them.

All counts are Python integers. The formulas of related networks are in `hatnet.relatives`. `tests/studies/` counts the
same products while both implementations run, and measures the memory.
"""

from hatnet.complexity.attention import equation_5, equation_15, h_mhsa_cost, mhsa_cost
from hatnet.complexity.cost import Cost
from hatnet.complexity.memory import attention_weights, inference_memory, reference_memory, training_memory
from hatnet.complexity.network import Part, network_costs, total

__all__ = [
    "Cost",
    "Part",
    "attention_weights",
    "equation_5",
    "equation_15",
    "h_mhsa_cost",
    "inference_memory",
    "mhsa_cost",
    "network_costs",
    "reference_memory",
    "total",
    "training_memory",
]
