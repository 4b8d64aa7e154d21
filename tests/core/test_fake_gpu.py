"""Every module keeps its tensors on one device, on a fake GPU that only computes shapes."""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

import hatnet.hierarchical_attention
from hatnet import HMHSA, create_model
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.relatives import ATTENTIONS
from hatnet.studies.ablation import ARMS, build, match_cost
from tests.cases import NETWORK_MUST_HIT


def on_a_fake_gpu(module, *shape):
    """The device of a module's output: PyTorch computes shapes only, and refuses to mix devices."""
    with FakeTensorMode():
        tensors = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for tensors in (module.named_parameters(), module.named_buffers())
            for name, tensor in tensors
        }
        made = functional_call(module, tensors, torch.empty(shape, device="cuda"))
        return made.device.type


@pytest.mark.parametrize("around", [nullcontext, unfused_attention])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_stay_on_one_device(case, training, around):
    """In training with drop path and dropout."""
    model = create_model("micro", drop_path_rate=0.2, classifier_drop_rate=0.2).train(training)
    with around():
        assert on_a_fake_gpu(model, 2, 3, case.height, case.width) == "cuda"


@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_attention_of_relatives_stays_on_one_device(name):
    assert on_a_fake_gpu(ATTENTIONS[name].at(1, C=32, heads=2).build(), 2, 13, 18, 32) == "cuda"


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_of_the_ablation_stay_on_one_device(arm):
    assert on_a_fake_gpu(build(match_cost(ARMS[arm])), 2, 1, 28, 28) == "cuda"


def test_a_fake_gpu_refuses_tensors_on_the_cpu(monkeypatch):
    layer = HMHSA(6, 2, grid_size=3, pool_size=2)
    monkeypatch.setattr(hatnet.hierarchical_attention, "average_pool", lambda x, _: torch.ones(2, 3, 4, 6))
    with pytest.raises(RuntimeError, match="to be on the same device|found two different devices"):
        on_a_fake_gpu(layer, 2, 5, 7, 6)
