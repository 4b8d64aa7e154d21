"""Attention maps: the weights of a token over its window, over the merged cells, and over the image through all blocks.

`attention_maps(model, image)` returns a collection of maps as arrays. Each map is a row of a matrix that is never
formed whole: `windows` (L), `cells` (G P), `block_map` (a block), `rollout` (blocks, stages, pixels), and `class_map`
(for a class, with the gradients that `unfused_attention` makes possible). `figure` and `explorer` draw them.
"""

from hatnet.maps.block_map import HIERARCHICAL, PLAIN, Parts, Shares
from hatnet.maps.maps import AttentionMaps, attention_maps
from hatnet.maps.tokens import Token, token_at

__all__ = [
    "HIERARCHICAL",
    "PLAIN",
    "AttentionMaps",
    "Parts",
    "Shares",
    "Token",
    "attention_maps",
    "token_at",
]
