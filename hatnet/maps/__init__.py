"""Attention maps: what a token takes from its window, from the merged cells, and from the image through all blocks.

`attention_maps(model, image)` answers with arrays. Behind it every map is a row of a matrix that is never formed whole:
`windows` (L), `cells` (G P), `composed` (a block), `rollout` (blocks, stages, pixels), `relevance` (for a class, with
the gradients that `explicit` makes flow). `figure` draws them; `command` is `hatnet attention`, which takes its network
from `source` and its image from `picture`.
"""

from hatnet.maps.block_map import HIERARCHICAL, PLAIN, Parts, Shares
from hatnet.maps.maps import AttentionMaps, attention_maps
from hatnet.maps.tokens import Token, token_at
from hatnet.maps.unfused_attention import explicit_attention

__all__ = [
    "HIERARCHICAL",
    "PLAIN",
    "AttentionMaps",
    "Parts",
    "Shares",
    "Token",
    "attention_maps",
    "explicit_attention",
    "token_at",
]
