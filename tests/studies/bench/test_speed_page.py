"""`docs/speed.md` states what its records hold."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hatnet.studies import bench
from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.roofline import roofline

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "speed.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rates():
    """The images/s of inference, of compiled inference and of training, by network."""
    parts = ("inference", "compiled", "training")
    records = {part: bench.read(DOCS / f"measurements/bench-{part}-cpu.json") for part in parts}
    return {
        part: {name: record.throughput(name).median for name in record.measured()} for part, record in records.items()
    }


def test_the_page_compares_the_rates_of_the_records(rates):
    inference, compiled, training = rates["inference"], rates["compiled"], rates["training"]
    pvt, hiera, swin = "pvt_v2_b2", "hiera_tiny_224", "swin_tiny_patch4_window7_224"
    ours, theirs = inference["small"], inference["authors-small"]
    tiny = inference["tiny"] / inference["authors-tiny"]
    assert f"authors' formulation | {ours / theirs:.2f} times; Tiny {tiny:.2f} times |" in PAGE
    peers = f"PVTv2-B2 {inference[pvt]:.1f}, Hiera-T {inference[hiera]:.1f}, Swin-T {inference[swin]:.1f}"
    assert f"{ours:.1f} images/s; {peers} |" in PAGE
    assert ours > max(inference[pvt], inference[hiera])
    assert f"{inference['tiny']:.1f} against {inference['pvt_v2_b1']:.1f} images/s" in PAGE
    peers = f"PVTv2-B2 {compiled[pvt]:.1f}, Hiera-T {compiled[hiera]:.1f}"
    assert f"Small {compiled['small']:.1f} images/s; {peers}" in PAGE
    assert f"falls from {ours:.1f} to {compiled['small']:.1f} images/s" in " ".join(PAGE.split())
    assert f"authors' formulation | {training['small'] / training['authors-small']:.2f} times |" in PAGE
    assert f"without it | {training['small'] / training['small-recompute']:.2f} times |" in PAGE


def test_the_page_states_the_rooflines_and_the_bound(rates):
    record = bench.read(DOCS / "measurements/bench-inference-cpu.json")
    small, tiny = (roofline(record, name) for name in ("small", "tiny"))
    assert f"Small {100 * small.whole.reached:.0f} %, Tiny {100 * tiny.whole.reached:.0f} %" in PAGE
    bound = 2 * record.settings.batch / small.whole.bound
    assert f"The bound of Small on two cores is {bound:.1f} images/s" in PAGE
    ours, theirs = (100 * rates["training"][name] / (bound / 3) for name in ("small", "authors-small"))
    training = f"{bound / 3:.1f} images/s: Small reaches {ours:.0f} % of it, the authors' formulation {theirs:.0f} %"
    assert training in " ".join(PAGE.split())
    assert f"{bound / rates['inference']['authors-small']:.1f} times what the authors' formulation reaches" in PAGE


def test_networks_that_the_noise_does_not_separate_are_called_about_as_fast():
    """Each median lies between the quartiles of the other. The quartiles here are NumPy's."""
    record = bench.read(DOCS / "measurements/bench-inference-cpu.json")
    rounds = record.settings.rounds  # without the pilot and the roofline

    def quartiles(name):
        visits = [visit for visit in record.visits if visit.network == name and 1 <= visit.round <= rounds]
        rates = [rate for visit in visits for rate in visit.rates(record.settings.batch)]
        return np.percentile(rates, [25, 50, 75])

    (low, ours, high), alike = quartiles("small"), []
    for name in record.measured():
        its = quartiles(name)
        if name != "small" and low <= its[1] <= high and its[0] <= ours <= its[2]:
            alike.append(NETWORKS[name].label)
    table = (DOCS / "measurements/bench-inference-cpu.txt").read_text(encoding="utf-8")
    assert alike
    assert f"HAT-Net Small is faster than Hiera-T, PVTv2-B2; about as fast as {', '.join(alike)}; slower" in table


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
