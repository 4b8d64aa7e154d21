"""The memory that maps need is counted in advance, and too much is refused before any work."""

import numpy as np
import pytest
import torch

import hatnet
from hatnet.complexity import attention_weights, network_costs
from hatnet.complexity.memory import training_memory_by_part
from hatnet.maps import attention_maps
from hatnet.maps.memory import require_memory
from hatnet.trace import Place


@pytest.mark.parametrize(("height", "width"), [(28, 28), (36, 36), (17, 40), (64, 64)])
def test_the_memory_of_the_weights_is_predicted_to_the_byte(height, width):
    model = hatnet.create_model("micro").eval()
    maps = attention_maps(model, torch.zeros(2, 3, height, width))
    taken = sum(weights.nbytes for weights in maps.weights.values())
    require_memory(model.config, height, width, batch=2, item=4, limit=taken)
    with pytest.raises(ValueError, match="but the limit"):
        require_memory(model.config, height, width, batch=2, item=4, limit=taken - 1)


def test_images_and_matrices_that_need_too_much_memory_are_refused_with_their_size():
    """Eq. 2, 7, 12: weights grow with N G1^2 + N M, a composed matrix with N^2."""
    model, image = hatnet.create_model("micro"), torch.zeros(3, 96, 96)
    maps = attention_maps(model, image, limit=2 * 10**7)
    assert maps.composed(0, 0, (0, 0)).shape == (48, 48)
    for compute, message in (
        (lambda: attention_maps(model, image, 10**6), "weights of 1 image of 96 x 96 .* in stage 0, .* 0.0 GiB"),
        (lambda: maps.class_map(0), "weights, their gradients and the maps kept for them of 1 image of 96 x 96"),
        (lambda: maps.dense(0, 0), "the composed matrix of 48 x 48 tokens takes 0.1 GiB"),
        (lambda: attention_maps(model, image[None][:0]).class_map(), "batch=0 must be a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            compute()


def test_by_default_two_gib_are_allowed():
    """The image is a view of one number, so that it takes no memory itself."""
    model, image = hatnet.create_model("micro"), torch.zeros(1, 1, 1).expand(3, 10_000, 10_000)
    with pytest.raises(ValueError, match=r"the limit is 2.0 GiB|limit of 2.0 GiB"):
        attention_maps(model, image)


@pytest.mark.parametrize(("gradients", "place"), [(False, "stage 2"), (True, "stage 0")])
def test_the_error_names_the_stage_that_takes_the_most_memory(gradients, place):
    """In Small, stage 2 has the most weights, but the maps kept for gradients are largest in stage 0."""
    config = hatnet.get_config("small")
    taken = np.zeros(4)
    for part in network_costs(config, 224, 224):
        if part.name.endswith(".attention"):
            s = Place.parse(part.name).stage
            weights = attention_weights(part.cost, config.stages[s].channels, config.stages[s].heads)
            taken[s] += 3 * weights if gradients else weights
    for name, count in training_memory_by_part(config, 224, 224).items():
        if gradients and name.startswith("stages"):
            taken[Place.parse(name).stage] += count
    assert place == f"stage {taken.argmax()}"
    with pytest.raises(ValueError, match=f"the largest part in {place}, but the limit"):
        require_memory(config, 224, 224, batch=1, item=4, limit=1, gradients=gradients)
