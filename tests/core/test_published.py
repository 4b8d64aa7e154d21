"""The published networks: parameters, names, and the figures that the authors' code computes."""

import numpy as np
import pytest
import torch

import reference
from hatnet import VARIANTS, create_model, load_official, to_numpy
from hatnet.complexity.summary import published_parameters, summarise
from hatnet.weights.official import authors_names, authors_shapes, unused_shapes
from tests.core.authors import FIGURES, SHAPES, images, state_dict

RELATIVE = 1e-10

PARAMETERS = {"tiny": 12_655_912, "small": 25_747_784, "medium": 42_942_472, "large": 63_132_488}
UNUSED = {"tiny": 5_760, "small": 9_216, "medium": 16_512, "large": 23_552}


@pytest.mark.parametrize("variant", PARAMETERS)
def test_parameters_are_the_published_ones_without_proj_norm(variant):
    """Table 1, D5."""
    ours = sum(parameter.numel() for parameter in create_model(variant).parameters())
    assert ours == PARAMETERS[variant] - UNUSED[variant]
    assert sum(row.parameters for row in summarise(VARIANTS[variant])) == ours
    assert published_parameters(VARIANTS[variant]) == PARAMETERS[variant]


@pytest.mark.parametrize("variant", SHAPES)
def test_our_names_match_the_authors_one_to_one(variant):
    """Every entry of a published file is one of our parameters, or belongs to proj_norm (D5)."""
    config = VARIANTS[variant]
    assert sorted(authors_names(config).values()) == sorted(authors_shapes(config))
    assert authors_shapes(config) | unused_shapes(config) == {k: tuple(v) for k, v in SHAPES[variant].items()}


@pytest.mark.parametrize(
    ("variant", "heads", "depths"),
    [
        ("tiny", (1, 2, 5, 8), (2, 2, 6, 3)),
        ("small", (1, 2, 5, 8), (2, 3, 8, 3)),
        ("medium", (1, 2, 5, 8), (3, 6, 18, 3)),
        ("large", (1, 2, 5, 10), (3, 8, 27, 3)),
    ],
)
def test_the_stages_are_those_of_table_1(variant, heads, depths):
    stages = VARIANTS[variant].stages
    assert tuple(stage.heads for stage in stages) == heads
    assert tuple(stage.depth for stage in stages) == depths
    assert tuple(stage.expansion for stage in stages) == (8, 8, 4, 4)
    assert tuple(stage.kernel_size for stage in stages) == ((5, 3, 5, 3) if variant == "medium" else (3, 3, 3, 3))
    assert tuple((stage.grid_size, stage.pool_size) for stage in stages) == ((8, 8), (7, 4), (7, 2), (None, None))
    assert all(layout.merged in (None, (7, 7)) for layout in VARIANTS[variant].layout(224, 224))


@pytest.fixture(scope="module", params=["tiny", "small"])
def published(request):
    """Our network with the authors' parameters, its results, and those of the authors' code."""
    (case,) = FIGURES[request.param]["cases"]
    model = load_official(state_dict(request.param))
    image = images(*case["shape"][:1], *case["shape"][2:]).requires_grad_()
    trace = {}
    logits = model(image, trace)
    features = [trace[f"stages.{index}.output"].permute(0, 3, 1, 2) for index in range(4)]
    (logits * torch.linspace(-1, 1, 1000, dtype=torch.float64)).mean().backward()
    return model, image, features, logits, case


def test_logits_and_stage_outputs_equal_the_authors(published):
    """Eq. 1-4, 6-14, Figure 1, in the authors' code."""
    _, _, features, logits, case = published
    assert logits[:, :8].tolist() == [pytest.approx(row, rel=RELATIVE) for row in case["logits_head"]]
    assert logits.mean().item() == pytest.approx(case["logits_mean"], rel=RELATIVE)
    assert logits.norm().item() == pytest.approx(case["logits_norm"], rel=RELATIVE)
    assert [list(feature.shape) for feature in features] == case["feature_shapes"]
    assert [feature.norm().item() for feature in features] == pytest.approx(case["feature_norms"], rel=RELATIVE)


def test_gradients_equal_the_authors(published):
    """For the image, and for parameters in all parts of the network."""
    model, image, _, _, case = published
    ours = {theirs: name for name, theirs in authors_names(model.config).items()}
    got = {name: model.get_parameter(ours[name]).grad.norm().item() for name in case["grad_norms"]}
    assert got == pytest.approx(case["grad_norms"], rel=RELATIVE)
    assert image.grad.norm().item() == pytest.approx(case["input_grad_norm"], rel=RELATIVE)


def test_the_references_logits_equal_the_authors(published):
    """Eq. 1-4, 6-14: the ground truth itself, compared with the authors' code without PyTorch in between."""
    model, image, _, _, case = published
    logits = reference.hat_net(image[0].detach().numpy(), to_numpy(model), model.config)
    assert logits[:8].tolist() == pytest.approx(case["logits_head"][0], rel=RELATIVE)
    assert np.linalg.norm(logits) == pytest.approx(case["logits_norm"], rel=RELATIVE)
