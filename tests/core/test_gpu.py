"""What only a GPU can show, besides `test_precision.py`: other kernels, compiled code, its own memory, and commands."""

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hatnet import create_model
from hatnet.device import full_precision, out_of_memory
from hatnet.equivalence import TOLERANCES, randomise, relative_error
from hatnet.export import export
from hatnet.maps import attention_maps
from hatnet.maps.class_map import relevances
from hatnet.maps.object_map import object_maps
from hatnet.relatives import ATTENTIONS
from hatnet.studies.ablation import ARMS, build, match_cost
from hatnet.training import join
from tests.cases import NETWORK_MUST_HIT
from tests.gpu import GPU
from tests.training.runs import run, stop_after

pytestmark = pytest.mark.cuda


def passes(module, x):
    """The output of a float64 module, and all gradients of the sum of its squares, as one vector on the CPU."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    x = x.detach().requires_grad_()
    y = module(x)
    return torch.cat(
        [part.detach().cpu().flatten() for part in (y, *torch.autograd.grad(y.square().sum(), [x, *weights]))]
    )


def assert_same_on_the_gpu(module, *shape):
    randomise(module)
    module, x = module.double().eval(), torch.from_numpy(np.random.default_rng(0).standard_normal(shape))
    want = passes(module, x)
    assert relative_error(passes(module.to(GPU), x.to(GPU)), want) < 1e-11


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_modules_give_the_results_and_gradients_of_the_cpu(name):
    assert_same_on_the_gpu(ATTENTIONS[name].at(1, C=32, heads=2).build(), 2, 13, 18, 32)


@pytest.mark.parametrize("name", ARMS)
def test_arms_of_the_ablation_give_the_results_and_gradients_of_the_cpu(name):
    assert_same_on_the_gpu(build(match_cost(ARMS[name])), 2, 1, 28, 28)


@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_maps_are_those_of_the_cpu(case):
    """Attention weights, rollout, and relevances for a class, in float64."""
    model, images = case.model(), case.images()
    here = attention_maps(model, images), relevances(model, images, torch.tensor([0, 2]))
    there = (
        attention_maps(model.to(GPU), images.to(GPU)),
        relevances(model, images.to(GPU), torch.tensor([0, 2], device=GPU)),
    )
    assert set(here[1]) == set(there[1])
    for name, want in here[1].items():
        assert relative_error(there[1][name].cpu(), want) < 1e-9, name
    stage, block = 1, 0
    assert relative_error(there[0].rollout(stage, block, (3, 4)), here[0].rollout(stage, block, (3, 4))) < 1e-11


def test_maps_of_objects_are_those_of_the_cpu():
    model = create_model("micro", task="segmentation", num_classes=5).double()
    randomise(model)
    image, masks = torch.from_numpy(np.random.default_rng(0).random((3, 45, 62))), torch.zeros(2, 45, 62).bool()
    masks[0, 3:20, 5:31] = masks[1, 25:45, 40:62] = True
    here = object_maps(model, image, masks, [2, 4])
    there = object_maps(model.to(GPU), image.to(GPU), masks.to(GPU), [2, 4])
    assert relative_error(there, here) < 1e-9


@pytest.mark.parametrize("operation", ["product", "batched product", "convolution"])
def test_full_precision_keeps_all_digits_of_float32(operation):
    """TF32 keeps 10 bits: its error would be about 1e-4."""
    functions = {
        "product": (lambda a, b: a @ b, (64, 512), (512, 64)),
        "batched product": (lambda a, b: a @ b, (3, 64, 512), (3, 512, 64)),
        "convolution": (F.conv2d, (2, 64, 16, 16), (64, 64, 3, 3)),
    }
    function, *shapes = functions[operation]
    a, b = (torch.from_numpy(np.random.default_rng(0).standard_normal(shape)) for shape in shapes)
    a, b = a.float(), b.float()
    with full_precision():
        got = function(a.to(GPU), b.to(GPU)).cpu()
    assert relative_error(got, function(a.double(), b.double())) < 2e-6


def test_full_memory_of_the_gpu_is_recognised():
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60, dtype=torch.uint8, device=GPU)
    assert out_of_memory(full.value)


def shallow():
    model = create_model("micro", depths=(1, 1, 1)).eval()
    randomise(model)
    return model


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # which full_precision leaves off
@pytest.mark.parametrize(("dtype", "dynamic"), [(torch.float32, None), (torch.bfloat16, False)], ids=str)
def test_the_compiled_network_equals_the_network_in_float64(dtype, dynamic):
    """At a size that its windows divide, then at one that they do not.

    For the second size, PyTorch by default compiles a graph for all sizes, which takes minutes; with `dynamic=False`,
    one for this size only.
    """
    exact, compiled = shallow().double(), torch.compile(shallow().to(GPU, dtype), dynamic=dynamic)
    for size in ((28, 28), (45, 31)):
        images = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 3, *size)))
        with torch.inference_mode(), full_precision():
            got, want = compiled(images.to(GPU, dtype)).cpu(), exact(images)
        assert relative_error(got.double(), want) < TOLERANCES[dtype]


@pytest.mark.long
def test_an_exported_network_runs_on_the_device_of_its_model(tmp_path):
    model = shallow().to(GPU)
    assert export(model, tmp_path / "network.pt2", image_size=(33, 40)) < 1e-5  # PyTorch 2.11 needs a size
    graph = torch.export.load(io.BytesIO((tmp_path / "network.pt2").read_bytes())).module()
    assert graph(torch.zeros(3, 3, 33, 40, device=GPU)).device.type == GPU


def test_a_training_that_was_stopped_ends_near_one_that_was_not(tmp_path):
    """On a GPU sums may be added in another order each time, so the bits may differ."""
    with join(GPU) as processes:
        whole = run(tmp_path / "whole", processes=processes)
        run(tmp_path / "stopped", processes=processes, monitor=stop_after(4))
        resumed = run(tmp_path / "stopped", processes=processes, resume=True)
    assert resumed.step == whole.step
    for column in ("train_loss", "test_loss"):
        ends = [training.history[-1][column] for training in (whole, resumed)]
        assert math.isclose(*ends, rel_tol=0.02), (column, ends)


def test_commands_accept_the_gpu(hatnet, tmp_path, monkeypatch):
    """Each of them moves a model, images, or both."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)).save("photo.png")
    weights = ("--weights", "fashion-mnist")
    hatnet("verify", "--variant", "micro", "--size", "28", "--device", GPU)
    hatnet("predict", "photo.png", *weights, "--device", GPU, "--out", "found.json")
    hatnet("predict", "photo.png", *weights, "--out", "wanted.json")
    found, wanted = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("found", "wanted"))
    (found,), (wanted,) = found["predictions"], wanted["predictions"]
    assert found["class"] == wanted["class"]
    assert math.isclose(found["probability"], wanted["probability"], rel_tol=1e-3)
    hatnet("attention", "photo.png", "--variant", "micro", "--size", "28", "--device", GPU, "--out", "maps.png")
    hatnet("scaling", "--modules", "h-mhsa", "mhsa", "--sizes", "32", "64", "--rounds", "1", "--dtype", "bfloat16",
           "--device", GPU, "--out", "scaling.json")  # fmt: skip
    assert json.loads((tmp_path / "scaling.json").read_text())["settings"]["device"] == GPU
