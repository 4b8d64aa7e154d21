"""The stem's first convolution between grey and colour, and the rows of a classifier in another order."""

import pytest
import torch
from torch.nn import functional as F

from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD
from hatnet.weights.adapting import FirstLayer, adapt, rows_of_classes
from hatnet.weights.checkpoints import CheckpointError


def layer(mean, std):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, len(mean), 3, 3, generator=generator, dtype=torch.float64)
    return FirstLayer(weight, torch.randn(5, generator=generator, dtype=torch.float64), mean, std)


def output(first, pixels):
    """Of pixels in [0, 1], normalised as the layer expects, with the padding of the stem."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (first.mean, first.std))
    return F.conv2d((pixels - mean) / std, first.weight, first.bias, padding=1)


def test_grey_weights_see_the_grey_version_of_a_colour_image():
    grey, colour = layer((0.286,), (0.353,)), torch.rand(2, 3, 8, 9, dtype=torch.float64)
    luma = 0.299 * colour[:, :1] + 0.587 * colour[:, 1:2] + 0.114 * colour[:, 2:]
    adapted = adapt(grey, 3)
    assert (adapted.mean, adapted.std) == (3 * (0.286,), 3 * (0.353,))
    assert torch.allclose(output(adapted, colour), output(grey, luma), rtol=0, atol=1e-12), "to the border"


def test_colour_weights_see_a_grey_image_as_they_saw_it_in_rgb():
    """Exactly, except where the kernel covers padding."""
    colour, grey = layer(IMAGENET_MEAN, IMAGENET_STD), torch.rand(2, 1, 8, 9, dtype=torch.float64)
    adapted = adapt(colour, 1)
    assert len(adapted.mean) == len(adapted.std) == adapted.weight.shape[1] == 1
    want, have = output(colour, grey.expand(-1, 3, -1, -1)), output(adapted, grey)
    assert torch.allclose(have[:, :, 1:-1, 1:-1], want[:, :, 1:-1, 1:-1], rtol=0, atol=1e-12)
    border = (have - want).abs().max()
    assert 0 < border < 0.3 * want.std(), "small, but there"


def test_colour_weights_with_one_mean_are_exact_for_grey_images_to_the_border():
    colour, grey = layer(3 * (0.4,), IMAGENET_STD), torch.rand(2, 1, 8, 9, dtype=torch.float64)
    want, have = output(colour, grey.expand(-1, 3, -1, -1)), output(adapt(colour, 1), grey)
    assert torch.allclose(have, want, rtol=0, atol=1e-12)


def test_to_colour_and_back_is_the_same_layer():
    grey = layer((0.286,), (0.353,))
    back = adapt(adapt(grey, 3), 1)
    assert torch.allclose(back.weight, grey.weight)
    assert torch.allclose(back.bias, grey.bias)
    assert (*back.mean, *back.std) == pytest.approx((*grey.mean, *grey.std))


def test_other_numbers_of_channels_are_refused():
    assert adapt(grey := layer((0.5,), (0.5,)), 1) is grey
    with pytest.raises(CheckpointError, match="take images with 4 channels, the data has 3: only grey"):
        adapt(layer(4 * (0.5,), 4 * (0.5,)), 3)


def test_rows_follow_the_names_of_the_classes():
    assert rows_of_classes(("cat", "dog", "fox"), ("fox", "cat", "dog")) == [2, 0, 1]
    assert rows_of_classes(("cat", "dog"), ("cat", "cow")) is None
    assert rows_of_classes(("cat", "cat"), ("cat", "cat")) is None
