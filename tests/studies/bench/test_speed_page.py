"""`docs/speed.md` states what its records hold."""

from pathlib import Path

import pytest
import torch

from hatnet.config import get_config
from hatnet.studies import bench
from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.roofline import roofline, whole_bound, work

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "speed.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rates():
    """The images/s of inference and of training, by network."""
    records = {part: bench.read(DOCS / f"measurements/bench-{part}-cpu.json") for part in ("inference", "training")}
    return {
        part: {name: record.throughput(name).median for name in record.measured()} for part, record in records.items()
    }


def test_the_page_compares_the_rates_of_the_records(rates):
    inference, training = rates["inference"], rates["training"]
    assert f"authors' formulation | {inference['small'] / inference['authors-small']:.2f} times |" in PAGE
    assert f"Hiera-T {inference['hiera_tiny_224']:.1f}, Small {inference['small']:.1f} images/s" in PAGE
    assert inference["small"] > max(inference["pvt_v2_b2"], inference["swin_tiny_patch4_window7_224"])
    assert f"{inference['tiny']:.1f} against {inference['pvt_v2_b1']:.1f} images/s" in PAGE
    assert f"authors' formulation | {training['small'] / training['authors-small']:.2f} times |" in PAGE
    assert f"without it | {training['small'] / training['small-recompute']:.2f} times |" in PAGE


def test_the_page_states_the_rooflines_and_the_bound():
    record = bench.read(DOCS / "measurements/bench-inference-cpu.json")
    small, tiny = (roofline(record, name) for name in ("small", "tiny"))
    assert f"Small {100 * small.whole.reached:.0f} %, Tiny {100 * tiny.whole.reached:.0f} %" in PAGE
    assert f"The bound of Small on two cores is {2 * record.settings.batch / small.whole.bound:.1f} images/s" in PAGE
    for found, variant in ((small, "small"), (tiny, "tiny")):  # at 54.3 / 48.6 times the rate of products
        faster = found.rates | {"matrices": found.rates["matrices"] * 54.3 / 48.6}
        reached = whole_bound(work(get_config(variant), 224, 8, 4), faster) / found.whole.seconds
        assert f"{100 * reached:.0f} %" in PAGE[PAGE.index("by the faster rate") - 60 :][:60]


def kept(network):
    """MiB per image that a forward pass keeps for the backward pass, weights excepted."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(torch.zeros(1, 3, 224, 224))
    return sum(storage.nbytes() for key, storage in storages.items() if key not in weights) / 2**20


def test_the_page_states_what_training_keeps():
    """As PyTorch's hooks count it."""
    ours, authors = NETWORKS["small"].build(224), kept(NETWORKS["authors-small"].build(224))
    whole = kept(ours)
    ours.recompute_mlps()
    words = " ".join(PAGE.split())
    assert f"keeps {kept(ours):.0f} MiB per image for the backward pass instead of {whole:.0f} MiB" in words
    assert f"the authors' formulation keeps {authors:.0f} MiB" in words
    assert f"{kept(ours) / authors:.2f} times; the whole process" in words
