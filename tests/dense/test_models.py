"""Semantic FPN, RetinaNet and Mask R-CNN: names, gradients, results, normalisation, and training on one image."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import detection
from torchvision.ops import MultiScaleRoIAlign

from hatnet import create_model
from hatnet.config import TASKS, get_config
from hatnet.data.photo import MEAN, STD
from hatnet.dense import SemanticFPN, SemanticFPNHead
from hatnet.network import Backbone
from tests.comparing import assert_equal
from tests.dense.networks import DETECTORS, MODELS, THIN, filled, target, thin

TARGETS = [target((4, 6, 40, 50), (30, 8, 62, 30)), target(size=(50, 60))]  # the second image has no objects
IMAGES = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.zeros(3, 50, 60)]
SCENE, TRUTH = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(2)), torch.zeros(96, 96).long()
TRUTH[10:50, 20:80] = 2
PREFIXES = {
    "segmentation": {"backbone.body.stem", "backbone.body.stages", "backbone.fpn.inner_blocks",
                     "backbone.fpn.layer_blocks", "head.levels", "head.classifier"},
    "detection": {"backbone.body.stem", "backbone.body.stages", "backbone.fpn.inner_blocks",
                  "backbone.fpn.layer_blocks", "backbone.fpn.extra_blocks", "head.classification_head",
                  "head.regression_head"},
    "instances": {"backbone.body.stem", "backbone.body.stages", "backbone.fpn.inner_blocks",
                  "backbone.fpn.layer_blocks", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor",
                  "roi_heads.mask_head", "roi_heads.mask_predictor"},
}  # fmt: skip


def loss_of(model, task):
    """The sum of the losses on two images. At 96 pixels each map has several merged tokens: with one, the softmax is
    constant, and queries and keys have no gradient.
    """
    if task == "segmentation":
        return F.cross_entropy(model(SCENE[None]), TRUTH[None])
    return sum(model(IMAGES, TARGETS).values())


@pytest.mark.parametrize("task", MODELS)
def test_every_parameter_gets_a_gradient_that_is_not_zero(task):
    model = thin(task).train()
    loss_of(model, task).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("task", MODELS)
def test_names_of_parameters_are_stable(task):
    """Files that are saved today must load tomorrow. The names below `body` are those of a classification network."""
    model = create_model("micro", task=task, num_classes=4)
    names = list(model.state_dict())
    depth = {name: 3 if name.startswith("backbone.") else 2 for name in names}
    assert {".".join(name.split(".")[: depth[name]]) for name in names} == PREFIXES[task]
    own = {name.removeprefix("backbone.body.") for name in names if name.startswith("backbone.body.")}
    assert own == {name for name in create_model("micro").state_dict() if not name.startswith("classifier.")}


def test_the_head_of_semantic_fpn_has_the_layers_of_the_paper():
    """One convolution at stride 4, then one, two and three before the doublings; no bias before a batch norm."""
    head = SemanticFPNHead(levels=4, in_channels=256, num_classes=150)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters() if p.ndim == 4}
    firsts = {f"levels.{level}.0.0.weight": (128, 256, 3, 3) for level in range(4)}
    others = {f"levels.{level}.{step}.0.weight": (128, 128, 3, 3) for level, step in ((2, 1), (3, 1), (3, 2))}
    assert shapes == firsts | others | {"classifier.weight": (150, 128, 1, 1)}
    assert not any(name.endswith(".0.bias") for name in head.state_dict())
    assert head.drop.p == 0.1


def test_anchors_are_those_of_the_papers_detectors():
    """At strides 8 to 128: 32 to 512 pixels, three sizes an octave. At 4 to 64: 32 to 512, one size."""
    retina, mask = (create_model("tiny", task=task).eval() for task in DETECTORS)
    assert retina.anchor_generator.sizes == detection.retinanet._default_anchorgen().sizes
    assert retina.anchor_generator.aspect_ratios == detection.retinanet._default_anchorgen().aspect_ratios
    assert mask.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert mask.roi_heads.box_roi_pool.featmap_names == ["0", "1", "2", "3"]


@pytest.mark.parametrize("task", DETECTORS)
def test_evaluation_returns_what_torchvisions_detectors_return(task):
    """Boxes lie inside the image before resizing; labels are from 1 to the number of classes."""
    threshold = {"detection": "score_thresh", "instances": "box_score_thresh"}[task]
    model = thin(task, **{threshold: 0.0}).eval()
    with torch.no_grad():
        found = model([IMAGES[0], IMAGES[1][:, :40]])
    for result, (height, width) in zip(found, ((64, 64), (40, 60)), strict=True):
        count = len(result["boxes"])
        assert count > 0
        assert set(result) == {"boxes", "labels", "scores"} | ({"masks"} if task == "instances" else set())
        assert result["boxes"].min() >= 0
        assert (result["boxes"].max(0).values <= torch.tensor([width, height, width, height])).all()
        assert set(result["labels"].tolist()) <= {1, 2, 3}
        assert result["scores"].shape == (count,)
        if task == "instances":
            assert result["masks"].shape == (count, 1, height, width)
            assert 0 <= result["masks"].min() <= result["masks"].max() <= 1


@pytest.mark.parametrize("task", MODELS)
def test_all_models_take_pixels_in_0_to_1_and_normalise_once(task):
    """The body receives (pixels - mean) / std with ImageNet's numbers for colour, or given ones."""
    grey = replace(THIN, in_channels=1)
    for model, mean, std, channels in (
        (thin(task), MEAN, STD, 3),
        (thin(task, grey), [0.5], [0.5], 1),
        (thin(task, grey, image_mean=[0.2], image_std=(2,)), [0.2], [2.0], 1),
    ):
        seen = []
        model.backbone.body.stem.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        image = torch.rand(channels, 64, 64)
        model.eval()([image] if task in DETECTORS else image[None])
        (given,) = seen  # (1, H, W, C)
        want = (image.permute(1, 2, 0).double() - torch.tensor(mean)) / torch.tensor(std)
        assert torch.allclose(given[0].double(), want, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (70, 101)])
def test_the_segmenter_takes_any_size_and_gives_logits_for_every_pixel(size):
    model = thin("segmentation").train()
    assert model(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_images_of_a_batch_do_not_affect_each_other_in_evaluation():
    model, images = thin("segmentation").double().eval(), torch.rand(3, 3, 40, 56, dtype=torch.float64)
    assert torch.allclose(model(images)[1:2], model(images[1:2]), rtol=1e-9)


@pytest.mark.parametrize("task", MODELS)
def test_create_model_gives_each_task_its_class_windows_and_classes(task):
    with torch.device("meta"):
        model = create_model("small", task=task)
        other = create_model("micro", task=task, num_classes=7, pool_sizes=(2, 1), drop_path_rate=0.2)
    assert type(model) is MODELS[task]
    assert model.training
    config = get_config("small", num_classes=TASKS[task], grid_sizes=(8, 8, 8), pool_sizes=(16, 8, 4))
    assert model.config == model.backbone.body.config == config
    assert (other.config.grid_sizes, other.config.pool_sizes, other.config.num_classes) == ((8, 8), (2, 1), 7)
    assert other.backbone.body.stages[2].blocks[1].drop_path.rate == 0.2


def test_fresh_weights_follow_from_the_seed():
    one, two = (thin("instances").state_dict() for _ in range(2))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    body = create_model("micro", task="segmentation").backbone.body
    assert abs(body.stages[1].blocks[0].mlp.expand.weight.std() - 0.02) < 0.002  # the authors', as in HATNet


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_torch_compile_finds_no_graph_break_in_the_segmenter(training):
    torch._dynamo.reset()
    model, image = thin("segmentation").train(training), torch.rand(2, 3, 45, 64)
    torch.manual_seed(0)
    want = model(image)
    torch.manual_seed(0)
    assert torch.allclose(torch.compile(model, fullgraph=True, backend="eager")(image), want, atol=1e-5)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(torch.__version__.startswith("2.11."), reason="PyTorch 2.11 exports one size only")
def test_the_segmenter_is_exported_for_any_number_of_images_of_any_size():
    """One graph; compared with the model at other sizes. The settings are those of the page."""
    from torch.fx.experimental import _config

    model, dynamic = thin("segmentation").eval(), torch.export.Dim.DYNAMIC
    sizes = {"image": {0: dynamic, 2: dynamic, 3: dynamic}}
    with _config.patch(backed_size_oblivious=True), torch.no_grad():
        example = torch.zeros(2, 3, 129, 131)
        exported = torch.export.export(
            model, (example,), dynamic_shapes=sizes, prefer_deferred_runtime_asserts_over_guards=True
        ).module()
    for shape in ((1, 3, 33, 40), (1, 3, 300, 70), (3, 3, 90, 201)):
        image = torch.rand(*shape)
        assert torch.allclose(exported(image), model(image), atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "lr", "steps"), [("segmentation", 1e-3, 40), ("detection", 3e-4, 40), ("instances", 1e-3, 25)]
)
def test_training_learns_one_image_by_heart(task, lr, steps):
    model = thin(task).train()
    targets = [target((4, 6, 40, 50), (30, 8, 62, 30))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        torch.manual_seed(0)  # the same regions in every step
        loss = loss_of(model, task) if task == "segmentation" else sum(model(IMAGES[:1], targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses
    if task == "segmentation":
        assert (model(SCENE[None]).argmax(1)[0] == TRUTH).float().mean() > 0.9


@pytest.mark.long
def test_a_missing_torchvision_is_named_with_the_command_that_installs_it():
    code = """
import sys
sys.modules["torchvision"] = None
import hatnet
hatnet.create_model("micro")
try:
    hatnet.create_model("micro", task="detection")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hatnet.dense needs torchvision: python -m pip install 'hatnet[train]'"), done.stderr


def test_the_body_is_shared_with_nothing():
    """Two models of one configuration have weights of their own."""
    one, two = SemanticFPN(THIN), SemanticFPN(THIN)
    assert isinstance(one.backbone.body, Backbone)
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in two.parameters()}


def test_the_objects_of_an_image_do_not_depend_on_the_images_before():
    """torchvision would keep the strides that it guesses from the first image: 8 x 32 tokens for 16 x 128 pixels."""
    image = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    fresh, used = (filled(thin("instances", width=8)).float() for _ in range(2))
    used([torch.rand(3, 16, 128)])
    (want,), (got,) = fresh([image]), used([image])
    assert len(want["boxes"])
    assert_equal(got, want)


def test_the_strides_of_regions_are_those_that_torchvision_guesses_for_a_large_image():
    model, guessing = thin("instances"), MultiScaleRoIAlign(list("0123"), output_size=7, sampling_ratio=2)
    maps = {str(level): torch.zeros(1, 1, 64 // 2**level, 96 // 2**level) for level in range(4)}
    guessing(maps, [torch.tensor([[0.0, 0.0, 9.0, 9.0]])], [(256, 384)])
    for pooling in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        assert pooling.scales == guessing.scales
        assert vars(pooling.map_levels) == vars(guessing.map_levels)
