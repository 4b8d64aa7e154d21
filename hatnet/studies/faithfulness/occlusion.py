r"""Occlusion: how far the class's logit falls when one patch is covered, $s_p = z_c(x) - z_c(x \text{ without } p)$."""

from __future__ import annotations

import torch
from torch import Tensor

from hatnet.studies.faithfulness.curves import Answer
from hatnet.studies.faithfulness.patches import over_patches, swap


def occlusion(logit: Answer, images: Tensor, covered: Tensor, patch: int) -> Tensor:
    """The fall of the logit for each patch, (B, P); negative where covering a patch helps the class.

    Args:
        logit: of the class, images -> (B,).
        images: (B, C_in, H, W).
        covered: what covers them, of the same shape.
        patch: its side in pixels.
    """
    patches = over_patches(images[:, 0], patch).shape[1]
    whole = logit(images)
    one = torch.eye(patches, dtype=torch.bool)
    falls = [whole - logit(swap(images, covered, one[p].expand(len(images), -1), patch)) for p in range(patches)]
    return torch.stack(falls, dim=1)
