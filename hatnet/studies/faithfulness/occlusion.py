r"""Occlusion: the drop of the class's logit when one patch is covered, $s_p = z_c(x) - z_c(x \text{ without } p)$."""

import torch
from torch import Tensor

from hatnet.studies.faithfulness.curves import Output
from hatnet.studies.faithfulness.patches import patch_means, replace_patches


def occlusion(logit: Output, images: Tensor, baselines: Tensor, patch: int) -> Tensor:
    """Drop of the logit when each patch is covered, (B, P). It is negative if covering the patch raises the logit.

    The patches of images (B, C_in, H, W) have a side of `patch` pixels. Those of `baselines`, of the same shape, cover
    them.
    """
    patches = patch_means(images[:, 0], patch).shape[1]
    whole = logit(images)
    one = torch.eye(patches, dtype=torch.bool)
    drops = [
        whole - logit(replace_patches(images, baselines, one[p].expand(len(images), -1), patch)) for p in range(patches)
    ]
    return torch.stack(drops, dim=1)
