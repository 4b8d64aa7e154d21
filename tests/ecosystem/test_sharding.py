"""Sharded parameters (FSDP2), and networks that are built on the meta device."""

import multiprocessing
import warnings

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from hatnet import HATNet, create_model, get_config
from hatnet.network import Block

IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_a_network_from_the_meta_device_draws_the_weights_of_any_other():
    """Every parameter is drawn, from the same distribution: with the same seed, the same numbers."""
    with torch.device("meta"):
        late = HATNet(get_config("micro"))
    late.to_empty(device="cpu")
    for parameter in late.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    other = create_model("micro")
    for model in (late, other):
        torch.manual_seed(5)
        model.reset_parameters()
    assert same(late.parameters(), other.parameters())
    assert torch.equal(late.stages[0].blocks[0].mlp.norm_in.weight, torch.ones(32))
    assert torch.equal(late(IMAGES), other.train()(IMAGES)) or late.drop.p > 0
    assert torch.equal(late.eval()(IMAGES), other.eval()(IMAGES))


def shard(model):
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module)
    register_fsdp_forward_method(fully_shard(model), "forward_features")
    return model


def train_sharded(rank, store, results):
    """The same network, whole and sharded: maps, logits and gradients; then one from the meta device."""
    warnings.simplefilter("ignore")  # of PyTorch, about views and random numbers on the CPU
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    whole = create_model("micro", classifier_drop_rate=0)
    sharded = create_model("micro", classifier_drop_rate=0)
    sharded.load_state_dict(whole.state_dict())
    shard(sharded)
    found = {"sharded": all(isinstance(parameter, DTensor) for parameter in sharded.parameters())}
    found["maps"] = same(sharded.forward_features(IMAGES), whole.forward_features(IMAGES))
    for model in (sharded, whole):
        model(IMAGES).square().sum().backward()
    gradients = [parameter.grad.full_tensor() for parameter in sharded.parameters()]
    found["gradients"] = all(
        torch.allclose(a, b.grad, rtol=1e-4, atol=1e-6) for a, b in zip(gradients, whole.parameters(), strict=True)
    )
    with torch.device("meta"):
        late = shard(HATNet(get_config("micro")))
    late.to_empty(device="cpu")
    late.reset_parameters()
    full = {name: tensor.full_tensor() for name, tensor in late.state_dict().items()}
    found["drawn"] = all(tensor.isfinite().all() for tensor in full.values())
    found["scale"] = full["stages.1.blocks.0.mlp.expand.weight"].std().item()
    if rank == 0:
        results.put(found)
    dist.destroy_process_group()


@pytest.mark.long
def test_a_sharded_network_has_the_maps_and_gradients_of_a_whole_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=train_sharded, args=(rank, tmp_path / "store", results)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        found = results.get(timeout=1200)
        for process in processes:
            process.join(600)
    finally:
        for process in processes:
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    assert 0.018 < found.pop("scale") < 0.022
    assert found == dict.fromkeys(("sharded", "maps", "gradients", "drawn"), True)
