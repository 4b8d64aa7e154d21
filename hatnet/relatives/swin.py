"""Swin: attention inside windows that shift from layer to layer (Liu et al., ICCV 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.attention import multi_head_attention, require_heads
from hatnet.checks import require_whole
from hatnet.complexity.attention import window_tokens_and_pairs
from hatnet.complexity.cost import Cost, check_sizes, linear_parameters, norm_parameters
from hatnet.hierarchical_attention import from_windows, to_windows
from hatnet.layers import require_map

LONGEST = 1024  # tokens of a window or a merged cell along one side, far above any use


class SwinAttention(nn.Module):
    """Attention inside windows, with a learned bias for each relative position.

    Every second layer of Swin shifts its windows by `shift` tokens, M // 2, so that tokens on both sides of a border
    meet. The map is rolled; a window that then holds tokens from opposite borders is masked, so that tokens attend only
    to those of their own border. An axis with a single window has no shift, as in Swin. Raises ValueError if the heads
    do not divide the channels, for windows below 1 token, and for a shift outside the window.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int = 0) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        window = require_whole("window", window, 1, LONGEST)
        try:
            shift = require_whole("shift", shift, 0, window - 1)
        except ValueError:
            message = f"shift={shift} must be at least 0 and less than the window of {window} tokens"
            raise ValueError(message) from None
        self.heads = heads
        self.window = window  # M, in tokens
        self.shift = shift
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Raises as `require_map` does."""
        require_map(x, self.qkv.weight)
        B, H, W, _ = x.shape
        window = (min(self.window, H), min(self.window, W))
        shift = (self.shift if self.window < H else 0, self.shift if self.window < W else 0)
        Q, K, V = self.qkv(to_shifted_windows(self.norm(x), window, shift)).chunk(3, dim=-1)  # (B windows, g h, C) each
        mask = self.position_bias(window)  # (heads, g h, g h)
        visible = visible_keys(x, window, shift)
        if visible is not None:  # (windows, 1, g h, g h)
            mask = mask.masked_fill(~visible, float("-inf")).repeat(B, 1, 1, 1)
        A = multi_head_attention(Q, K, V, self.heads, mask)
        shifted = from_windows(A, window, (H + -H % window[0], W + -W % window[1]))
        return self.projection(shifted.roll(shift, dims=(1, 2))[:, :H, :W])

    def position_bias(self, window: tuple[int, int]) -> Tensor:
        """The bias for each query and key, by how far the key is below and right of the query: (heads, g h, g h)."""
        rows, columns = (torch.arange(side, device=self.bias.device) for side in window)
        down = (rows[None, :] - rows[:, None] + self.window - 1)[:, None, :, None]  # (g, 1, g, 1)
        right = (columns[None, :] - columns[:, None] + self.window - 1)[None, :, None, :]  # (1, h, 1, h)
        return self.bias[:, down, right].flatten(3, 4).flatten(1, 2)


def to_shifted_windows(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """Pad maps to whole windows, roll them up and left by `shift`, and cut: (B, H, W, C) -> (B windows, g h, C)."""
    _, H, W, _ = x.shape
    x = F.pad(x, (0, 0, 0, -W % window[1], 0, -H % window[0]))
    return to_windows(x.roll((-shift[0], -shift[1]), dims=(1, 2)), window)


def visible_keys(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor | None:
    """Mask of the keys that each query attends to, (windows, 1, g h, g h); None where it attends to its whole window.

    Tokens that the roll brought from the opposite border attend only to each other. So do padding tokens: a softmax
    needs at least one key.
    """
    _, H, W, _ = x.shape
    if shift == (0, 0) and H % window[0] == 0 and W % window[1] == 0:
        return None
    rolled_rows = (torch.arange(H, device=x.device) < shift[0]).int()
    rolled_columns = (torch.arange(W, device=x.device) < shift[1]).int()
    part = 1 + rolled_rows[:, None] + 2 * rolled_columns  # (H, W), 1 to 4; padding is 0
    parts = to_shifted_windows(part[None, :, :, None], window, shift)  # (windows, g h, 1)
    return (parts == parts.transpose(1, 2)).unsqueeze(1)


def swin_cost(H: int, W: int, C: int, window: int, heads: int = 1, padded: bool = False) -> Cost:
    """Cost of attention inside windows of `window` x `window` tokens; shifting them costs nothing."""
    H, W, C, window, heads = check_sizes(H=H, W=W, C=C, window=window, heads=heads)
    tokens, pairs = window_tokens_and_pairs(H, W, window, padded)
    macs = {
        "Wq Wk Wv": 3 * tokens * C**2,
        "Q K^T": pairs * C,
        "softmax V": pairs * C,
        "Wp": H * W * C**2,
    }
    biases = (2 * window - 1) ** 2 * heads  # one per head for every relative position
    return Cost(macs, norm_parameters(C) + linear_parameters(C, 3 * C) + linear_parameters(C, C) + biases)
