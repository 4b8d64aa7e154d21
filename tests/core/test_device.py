"""Precision, full memory, and a fake GPU that only computes shapes: every module keeps its tensors on one device."""

import importlib
from contextlib import nullcontext, suppress

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

import hatnet.hierarchical_attention
from hatnet import HMHSA, create_model
from hatnet.device import full_precision, out_of_memory, out_of_memory_cause
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.relatives import ATTENTIONS
from hatnet.studies.ablation import ARMS, build, match_cost
from hatnet.studies.bench.authors import AuthorsFormulation
from tests.cases import NETWORK_MUST_HIT


def test_full_precision_ends_with_its_block_and_keeps_cudnn():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    try:
        conv.fp32_precision = matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", torch.bfloat16), suppress(KeyError), full_precision():
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
            assert torch.backends.cudnn.enabled
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise KeyError
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def test_a_full_cpu_is_recognised_by_pytorchs_own_error():
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(full.value)
    assert out_of_memory_cause(full.value).startswith("can't allocate memory")
    assert "\n" not in out_of_memory_cause(full.value)


@pytest.mark.parametrize("message", ["a bug", "CUDA error: an illegal memory access was encountered"])
def test_other_errors_are_not_full_memory(message):
    assert not out_of_memory(RuntimeError(message))


def on_a_fake_gpu(module, *shape):
    """The device of a module's output: PyTorch computes shapes only, and refuses to mix devices."""
    with FakeTensorMode():
        tensors = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for tensors in (module.named_parameters(), module.named_buffers())
            for name, tensor in tensors
        }
        return functional_call(module, tensors, torch.empty(shape, device="cuda")).device.type


@pytest.mark.parametrize("around", [nullcontext, unfused_attention])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_stay_on_one_device(case, training, around):
    """In training with drop path and dropout."""
    model = create_model("micro", drop_path_rate=0.2, classifier_drop_rate=0.2).train(training)
    with around():
        assert on_a_fake_gpu(model, 2, 3, case.height, case.width) == "cuda"


def test_the_relatives_and_the_arms_of_the_ablation_stay_on_one_device():
    for name, attention in ATTENTIONS.items():
        assert on_a_fake_gpu(attention.at(1, C=32, heads=2).build(), 2, 13, 18, 32) == "cuda", name
    for name, arm in ARMS.items():
        assert on_a_fake_gpu(build(match_cost(arm)), 2, 1, 28, 28) == "cuda", name


def test_networks_for_other_libraries_stay_on_one_device():
    """timm's interface, and a pyramid for torchvision's detectors."""
    timm = pytest.importorskip("timm")
    importlib.import_module("hatnet.timm")
    small = {"depths": (1, 1, 1, 1), "num_classes": 3}
    assert on_a_fake_gpu(timm.create_model("hat_net_tiny", **small), 2, 3, 70, 45) == "cuda"
    assert (
        on_a_fake_gpu(OneMap(timm.create_model("hat_net_tiny", features_only=True, **small), -1), 2, 3, 70, 45)
        == "cuda"
    )
    pyramid = importlib.import_module("hatnet.torchvision").fpn_backbone(create_model("tiny", **small), 8)
    assert on_a_fake_gpu(OneMap(pyramid, "pool"), 2, 3, 70, 45) == "cuda"


class OneMap(torch.nn.Module):
    """One of several maps that a module returns."""

    def __init__(self, module, key):
        super().__init__()
        self.module, self.key = module, key

    def forward(self, image):
        return self.module(image)[self.key]


def test_networks_of_the_benchmark_stay_on_one_device():
    """The authors' formulation, and training with recomputation."""
    model = create_model("micro", depths=(1, 1, 1), grid_sizes=(7, 7), pool_sizes=(2, 1))
    assert on_a_fake_gpu(AuthorsFormulation(model), 2, 3, 28, 28) == "cuda"
    model.recompute_mlps()
    assert on_a_fake_gpu(model.train(), 2, 3, 28, 28) == "cuda"


def test_a_fake_gpu_refuses_tensors_on_the_cpu(monkeypatch):
    layer = HMHSA(6, 2, grid_size=3, pool_size=2)
    monkeypatch.setattr(hatnet.hierarchical_attention, "average_pool", lambda x, _: torch.ones(2, 3, 4, 6))
    with pytest.raises(RuntimeError, match="to be on the same device|found two different devices"):
        on_a_fake_gpu(layer, 2, 5, 7, 6)
