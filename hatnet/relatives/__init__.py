"""The attention of related networks, to compare with H-MHSA: modules, cost formulas, and the registry of them all.

Every module maps (B, H, W, C) to (B, H, W, C) and can replace H-MHSA in a block: it contains the norm before the
attention but not the residual connection around it. Norms are layer norms per token, as in the papers. Maps of any
size are accepted: windows that reach over the border are padded and masked as in `HMHSA`, cells are padded with zeros.
"""

from hatnet.relatives.pvt import PVTAttention, PVTv2LinearAttention, pvt_cost, pvt_v2_linear_cost
from hatnet.relatives.registry import ATTENTIONS, Attention
from hatnet.relatives.swin import SwinAttention, swin_cost
from hatnet.relatives.twins import TwinsAttention, twins_cost

__all__ = [
    "ATTENTIONS",
    "Attention",
    "PVTAttention",
    "PVTv2LinearAttention",
    "SwinAttention",
    "TwinsAttention",
    "pvt_cost",
    "pvt_v2_linear_cost",
    "swin_cost",
    "twins_cost",
]
