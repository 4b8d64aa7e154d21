"""A training on paper: every number of a plan equals one computed by hand, and the page shows the code's tables."""

import inspect
import runpy
from dataclasses import fields, replace
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatnet.studies.plan import (
    IMAGENET,
    Assumptions,
    assumption_table,
    machines_on_paper,
    plan,
    plan_table,
    variants_on_paper,
)
from hatnet.training.recipes import get_recipe
from hatnet.training.sampling import BatchSampler

PAGE = Path(__file__).parents[2] / "docs" / "training-at-scale.md"
PAPER = get_recipe("imagenet")
# Round numbers, for arithmetic by hand.
ROUND = Assumptions(
    gpus=4, gpu_flops=1e15, gpu_memory=100e9, gpu_bandwidth=1e12, link_bandwidth=1e9, flops_reached=0.5,
    bandwidth_reached=0.5, link_reached=1, backward=2, element_bytes=2, passes=5, workers_per_gpu=10,
    seconds_per_image=0.008, file_bytes=100e3,
)  # fmt: skip


def test_plan_equals_arithmetic_by_hand():
    """Tiny, 1024 images per step: 12,650,152 parameters; 2,128,134,912 MACs and 32,189,064 elements per image."""
    found = plan(replace(PAPER, epochs=100), ROUND)
    assert (found.steps_per_epoch, found.steps, found.slices_per_gpu) == (1251, 125_100, 2)  # 1,281,167 / 1024
    assert found.activation_bytes == pytest.approx(128 * 32_189_064 * 2)
    assert found.weight_bytes == 22 * 12_650_152  # four float32, one bfloat16, and the buckets
    assert plan(replace(PAPER, ema=0.999), ROUND).weight_bytes == 26 * 12_650_152  # and an average
    assert found.memory_share == pytest.approx((8_240_400_384 + 278_303_344) / 100e9)
    assert found.exchanged_bytes == pytest.approx(2 * 3 / 4 * 4 * 12_650_152)
    assert found.computing == pytest.approx(256 * 3 * 2 * 2_128_134_912 / 0.5e15)  # 6.5 ms
    assert found.moving == pytest.approx(256 * 32_189_064 * 2 * 5 / 0.5e12)  # 165 ms
    assert found.exchanging == pytest.approx(0.075900912)  # 75.9 MB at 1 GB/s
    assert found.loading == pytest.approx(0.2048)  # 1024 images, 40 workers, 8 ms each


def test_a_plan_is_for_imagenet_by_default():
    assert plan(PAPER, ROUND) == plan(PAPER, ROUND, images=1_281_167, tests=50_000, classes=1000, channels=3)
    assert plan(PAPER) == plan(PAPER, Assumptions())


def test_hours_follow_the_slower_of_gpus_and_workers():
    """A step takes 165 + 76 ms on the GPUs and 205 ms in the workers; a test image takes a third of the GPUs' time."""
    found = plan(replace(PAPER, epochs=100), ROUND)
    step = found.moving + found.exchanging
    assert step > found.loading
    assert found.gpu_images_per_second == pytest.approx(1024 / step)
    assert found.loader_images_per_second == pytest.approx(5000)
    tests = 100 * 50_000 / 5000  # at the workers' rate, which is below the GPUs' 3 * 1024 / step
    assert found.hours == pytest.approx((125_100 * step + tests) / 3600)
    slow = plan(replace(PAPER, epochs=100), replace(ROUND, workers_per_gpu=5))
    assert slow.limit == "images"
    assert slow.hours == pytest.approx((125_100 * 0.4096 + 2 * tests) / 3600)
    assert slow.hours_if_fed == pytest.approx((125_100 * step + 100 * 50_000 * step / 3 / 1024) / 3600)


def test_rate_of_the_gpus_determines_workers_and_disk():
    found = plan(PAPER, ROUND)
    assert found.workers_wanted == ceil(found.gpu_images_per_second * 0.008)
    assert found.disk_bytes_per_second == pytest.approx(found.gpu_images_per_second * 100e3 / 3)
    once = plan(replace(PAPER, repeats=1), ROUND)
    assert once.disk_bytes_per_second == pytest.approx(3 * found.disk_bytes_per_second)


def test_one_gpu_exchanges_nothing_and_computes_all_slices():
    one, eight = plan(PAPER, Assumptions(gpus=1)), plan(PAPER, Assumptions(gpus=8))
    assert (one.exchanged_bytes, one.exchanging, one.slices_per_gpu) == (0, 0, 8)
    assert one.activation_bytes == eight.activation_bytes
    assert one.computing == pytest.approx(8 * eight.computing)


def test_authors_memory_lies_between_two_and_four_bytes_per_element():
    """Section 4.4: 20.2 GB for Small with 128 images per GPU. With 3 bytes per element, the plan is equal."""
    small = variants_on_paper()["Small"]
    assert 2 / 3 * small.activation_bytes < 20.2e9 < 4 / 3 * small.activation_bytes
    assert 1 < (small.activation_bytes + small.weight_bytes) / 20.2e9 < 1.05


@given(gpus=st.sampled_from([1, 2, 4, 8]), epochs=st.integers(6, 300))
def test_steps_equal_those_of_the_training(gpus, epochs):
    found = plan(replace(PAPER, epochs=epochs), Assumptions(gpus=gpus))
    assert found.steps == BatchSampler(IMAGENET, 1024, 128, epochs, 0, 3).steps
    assert found.hours >= found.hours_if_fed > 0


def test_gpus_that_cannot_share_a_batch_are_an_error():
    with pytest.raises(ValueError, match=r"3 processes .* the 8 slices .* slice_size=128 x 3"):
        plan(PAPER, Assumptions(gpus=3))


@pytest.mark.parametrize("name", [entry.name for entry in fields(Assumptions)])
def test_impossible_assumption_is_an_error_with_its_name(name):
    with pytest.raises(ValueError, match=f"^{name}=0 must be above 0"):
        Assumptions(**{name: 0})
    if name.endswith("reached"):
        with pytest.raises(ValueError, match=f"^{name}=2 must be above 0, at most 1"):
            Assumptions(**{name: 2})


def test_page_shows_the_tables_that_the_module_prints(capsys):
    page = PAGE.read_text(encoding="utf-8")
    tables = assumption_table(Assumptions()), plan_table(variants_on_paper()), plan_table(machines_on_paper())
    assert all(table in page for table in tables)
    runpy.run_path(inspect.getfile(plan), run_name="__main__")
    assert capsys.readouterr().out == "\n\n".join(tables) + "\n"
