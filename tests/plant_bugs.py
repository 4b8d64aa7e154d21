"""Plant bugs, one at a time, and see that the named test turns red: the test of the tests.

    python -m tests.plant_bugs            # all, three minutes; writes docs/planted-bugs.json for the site
    python -m tests.plant_bugs "eps 1e-5" # those whose name holds the words; writes nothing

Each bug is a change of source text, made in a copy of the repository. First every named test runs on an
unchanged copy, where it must be green; then with its bug, where it must be red for a failed comparison.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "docs" / "planted-bugs.json"


@dataclass(frozen=True)
class Bug:
    """A plausible mistake: `old` becomes `new` in `file`, and `test` must see it."""

    name: str
    file: str
    old: str
    new: str
    test: str


LAYERS, ATTENTION, HIERARCHICAL, NETWORK = (
    f"hatnet/{name}.py" for name in ("layers", "attention", "hierarchical_attention", "network")
)
TEST_LAYERS, TEST_ATTENTION, TEST_HIERARCHICAL, TEST_BLOCK, TEST_NETWORK = (
    f"tests/core/{name}.py::"
    for name in ("test_layers", "test_attention", "test_hierarchical_attention", "test_block", "test_network")
)
WHOLE = TEST_HIERARCHICAL + "test_h_mhsa_equals_the_reference_image_by_image"
MAPS, TRAINING = "tests/maps/", "tests/training/"

BUGS = (
    Bug(
        "softmax over the wrong axis, in the trace",
        ATTENTION,
        "scores.softmax(dim=-1)",
        "scores.softmax(dim=-2)",
        TEST_ATTENTION + "test_weights_in_a_trace_equal_the_references",
    ),
    Bug(
        "softmax over the wrong axis, in the reference",
        "reference/attention.py",
        "e / e.sum(axis=-1, keepdims=True)",
        "e / e.sum(axis=0, keepdims=True)",
        TEST_ATTENTION + "test_each_row_of_softmax_sums_to_one",
    ),
    Bug(
        "missing scale 1 / sqrt(d)",
        ATTENTION,
        "attn_mask=mask)",
        "attn_mask=mask, scale=1.0)",
        TEST_ATTENTION + "test_fused_attention_equals_the_formula_head_by_head",
    ),
    Bug(
        "scale 1 / sqrt(C) instead of 1 / sqrt(d)",
        ATTENTION,
        "attn_mask=mask)",
        "attn_mask=mask, scale=Q.shape[-1] ** -0.5)",
        TEST_ATTENTION + "test_fused_attention_equals_the_formula_head_by_head",
    ),
    Bug(
        "heads interleaved",
        ATTENTION,
        "x.unflatten(-1, (heads, -1)).transpose(1, 2)",
        "x.unflatten(-1, (-1, heads)).movedim(-1, 1)",
        TEST_ATTENTION + "test_fused_attention_equals_the_formula_head_by_head",
    ),
    Bug(
        "heads put back without the transpose",
        ATTENTION,
        "x.transpose(1, 2).flatten(2)",
        "x.reshape(x.shape[0], x.shape[2], -1)",
        TEST_ATTENTION + "test_joining_heads_undoes_splitting_them",
    ),
    Bug(
        "k and v swapped in the global step",
        HIERARCHICAL,
        "K2, V2 = self.kv",
        "V2, K2 = self.kv",
        TEST_HIERARCHICAL + "test_global_attention",
    ),
    Bug(
        "q and k swapped in the local step",
        HIERARCHICAL,
        "Q1, K1, V1 = self.qkv",
        "K1, Q1, V1 = self.qkv",
        TEST_HIERARCHICAL + "test_local_attention",
    ),
    Bug(
        "windows transposed when they are put back",
        HIERARCHICAL,
        "x.reshape(-1, rows, columns, g, h, C).transpose(2, 3)",
        "x.reshape(-1, columns, rows, g, h, C).permute(0, 2, 3, 1, 4, 5)",
        TEST_HIERARCHICAL + "test_putting_windows_back_undoes_cutting_them",
    ),
    Bug(
        "windows cut by reshape without the transpose",
        HIERARCHICAL,
        "ceil_div(W, h), h, C).transpose(2, 3)  # (B, rows, columns, g, h, C)",
        "ceil_div(W, h), h, C)",
        TEST_HIERARCHICAL + "test_windows_are_the_slices_of_the_map",
    ),
    Bug(
        "mask off by one column",
        HIERARCHICAL,
        "to_windows(x.new_ones(1, H, W, 1), window)",
        "to_windows(F.pad(x.new_ones(1, H, W - 1, 1), (0, 0, 0, 1)), window)",
        TEST_HIERARCHICAL + "test_the_mask_marks_the_tokens_on_the_map",
    ),
    Bug(
        "no mask: padding is attended to",
        HIERARCHICAL,
        "self.heads, mask, name)  # (B windows, g h, C)",
        "self.heads, None, name)  # (B windows, g h, C)",
        TEST_HIERARCHICAL + "test_local_attention",
    ),
    Bug(
        "mask of one image laid on the windows of all in the wrong order",
        HIERARCHICAL,
        ".unsqueeze(1).repeat(B, 1, 1, 1)",
        ".unsqueeze(1).repeat_interleave(B, 0)",
        TEST_HIERARCHICAL + "test_the_mask_marks_the_tokens_on_the_map",
    ),
    Bug(
        "local residual from the normalised input",
        HIERARCHICAL,
        "A1 = self.local_norm(A1 + x)",
        "A1 = self.local_norm(A1 + self.norm(x))",
        WHOLE,
    ),
    Bug("local residual left out", HIERARCHICAL, "self.local_norm(A1 + x)", "self.local_norm(A1)", WHOLE),
    Bug("local norm left out", HIERARCHICAL, "A1 = self.local_norm(A1 + x)", "A1 = A1 + x", WHOLE),
    Bug(
        "statistics per token instead of per image",
        LAYERS,
        "F.layer_norm(x, x.shape[1:], eps=self.eps)",
        "F.layer_norm(x, x.shape[3:], eps=self.eps)",
        TEST_LAYERS + "test_group_norm_takes_its_statistics_over_the_whole_image",
    ),
    Bug(
        "statistics per channel instead of per image",
        LAYERS,
        "normed = F.layer_norm(x, x.shape[1:], eps=self.eps)",
        "normed = F.layer_norm(x.movedim(-1, 1), x.shape[1:3], eps=self.eps).movedim(1, -1)",
        TEST_LAYERS + "test_group_norm_takes_its_statistics_over_the_whole_image",
    ),
    Bug(
        "eps 1e-5 instead of 1e-6",
        LAYERS,
        "eps: float = 1e-6",
        "eps: float = 1e-5",
        TEST_LAYERS + "test_group_norm_takes_its_statistics_over_the_whole_image",
    ),
    Bug(
        "pooling counts padding",
        LAYERS,
        "    return F.avg_pool2d(x.permute(0, 3, 1, 2), pool_size, ceil_mode=True)",
        "    x = F.pad(x, (0, 0, 0, -x.shape[2] % pool_size, 0, -x.shape[1] % pool_size))\n"
        "    return F.avg_pool2d(x.permute(0, 3, 1, 2), pool_size)",
        TEST_LAYERS + "test_pooling_keeps_a_constant_map",
    ),
    Bug(
        "pooling rounds down",
        LAYERS,
        "pool_size, ceil_mode=True)",
        "(min(pool_size, x.shape[1]), min(pool_size, x.shape[2])))",
        TEST_LAYERS + "test_pooling_averages_the_tokens_that_each_cell_has",
    ),
    Bug(
        "largest instead of mean of a cell",
        LAYERS,
        "F.avg_pool2d(",
        "F.max_pool2d(",
        TEST_LAYERS + "test_pooling_averages_the_tokens_that_each_cell_has",
    ),
    Bug(
        "global step on tokens that are not merged",
        HIERARCHICAL,
        "A2 = self.global_attention(A1, merged, trace)",
        "A2 = self.global_attention(A1, A1, trace)",
        WHOLE,
    ),
    Bug(
        "global step on merged tokens that are not normalised",
        HIERARCHICAL,
        "return self.norm(average_pool(A1, pool_size))",
        "return average_pool(A1, pool_size)",
        TEST_HIERARCHICAL + "test_merging",
    ),
    Bug(
        "global queries from the input instead of the local result",
        HIERARCHICAL,
        "A2 = self.global_attention(A1, merged, trace)",
        "A2 = self.global_attention(self.norm(x), merged, trace)",
        WHOLE,
    ),
    Bug(
        "local result not added",
        HIERARCHICAL,
        "self.projection(A1 + A2)",
        "self.projection(A2)",
        WHOLE,
    ),
    Bug(
        "bias of the output projection lost",
        HIERARCHICAL,
        "self.projection(A1 + A2)",
        "F.linear(A1 + A2, self.projection.weight)",
        WHOLE,
    ),
    Bug(
        "SiLU before the depthwise convolution left out",
        NETWORK,
        "F.silu(self.expand(self.norm_in(x)))",
        "self.expand(self.norm_in(x))",
        TEST_BLOCK + "test_mlp",
    ),
    Bug(
        "SiLU after the last matrix instead of before it",
        NETWORK,
        "x = F.silu(self.depthwise(x))  # (B, H, W, E C)\n        x = self.contract(self.drop(x))",
        "x = self.depthwise(x)\n        x = F.silu(self.contract(self.drop(x)))",
        TEST_BLOCK + "test_mlp",
    ),
    Bug("GELU instead of SiLU", NETWORK, "x = F.silu(self.depthwise(x))", "x = F.gelu(self.depthwise(x))",
        TEST_BLOCK + "test_mlp"),
    Bug(
        "norm at the end of the MLP left out",
        NETWORK,
        "return self.drop(self.norm_out(x))",
        "return self.drop(x)",
        TEST_BLOCK + "test_mlp",
    ),
    Bug(
        "residual of the MLP left out",
        NETWORK,
        "x = self.drop_path(self.mlp(x)) + x",
        "x = self.drop_path(self.mlp(x))",
        TEST_BLOCK + "test_a_block_adds_attention_and_mlp_to_their_inputs",
    ),
    Bug(
        "downsampling scales and shifts without statistics",
        NETWORK,
        "return self.norm(self.conv(x))",
        "return self.conv(x) * self.norm.weight + self.norm.bias",
        TEST_LAYERS + "test_downsampling",
    ),
    Bug(
        "drop path drops the residual too",
        NETWORK,
        "x = self.drop_path(self.mlp(x)) + x",
        "x = self.drop_path(self.mlp(x) + x)",
        TEST_BLOCK + "test_drop_path_drops_the_branches_but_never_the_residual",
    ),
    Bug(
        "statistics over the whole batch",
        LAYERS,
        "normed = F.layer_norm(x, x.shape[1:], eps=self.eps)",
        "normed = F.layer_norm(x, x.shape, eps=self.eps)",
        TEST_HIERARCHICAL + "test_the_order_of_a_batch_does_not_matter",
    ),
    Bug(
        "the last block of a stage skipped",
        NETWORK,
        "enumerate(self.blocks)",
        "enumerate(self.blocks[: max(1, len(self.blocks) - 1)])",
        TEST_NETWORK + "test_every_parameter_gets_a_gradient",
    ),
    Bug(
        "windows, going back: not transposed",
        "hatnet/maps/windows.py",
        ".transpose(-2, -1) @ r",
        "@ r",
        MAPS + "test_block_map.py::test_going_back_through_windows_and_cells_is_a_product_with_their_matrices",
    ),
    Bug(
        "attention through a window and a cell left out of the composed map",
        "hatnet/maps/block_map.py",
        "brought = through_windows(cells,",
        "brought = through_windows(maps,",
        MAPS + "test_block_map.py::test_the_composed_map_and_its_parts_equal_the_dense_products",
    ),
    Bug(
        "class map: negative gradients counted as positive",
        "hatnet/maps/class_map.py",
        "(gradient * weights).clamp(min=0)",
        "(gradient * weights).abs()",
        MAPS + "test_class_map.py::test_numpy_and_pytorch_agree_on_the_class_map",
    ),
    Bug(
        "rollout: every output alike, where every place should be",
        "hatnet/maps/rollout.py",
        "/ by_all.masked_fill(by_all == 0, 1)",
        "/ by_all.mean()",
        MAPS + "test_rollout.py::test_a_uniform_map_stays_uniform_through_a_convolution",
    ),
    Bug(
        "a training that goes on forgets its optimiser",
        "hatnet/training/state.py",
        'if path.startswith("optimiser."):',
        'if path.startswith("optimizer."):',
        TRAINING + "test_resuming.py::test_a_stopped_training_resumes_bit_for_bit[10]",
    ),
    Bug(
        "a training that goes on forgets its averaged weights",
        "hatnet/training/resuming.py",
        "for section, network in learner.networks.items():\n        network",
        'for section, network in [("model.", learner.model)]:\n        network',
        TRAINING + "test_resuming.py::test_a_stopped_training_resumes_bit_for_bit[10]",
    ),
    Bug(
        "trained weights to start from left in their file",
        "hatnet/training/preparation.py",
        "not load_trained(model, weights, data.classes)",
        "Path(recipe.weights).exists()",
        TRAINING + "test_initial_weights.py::test_training_can_start_from_trained_weights",
    ),
    Bug(
        "dropout drawn from a generator that runs along",
        "hatnet/training/learner.py",
        'torch.manual_seed(derive(self.recipe.seed, "slice", self.step, place))',
        "_ = place",
        TRAINING + "test_resuming.py::test_worker_processes_change_no_bit",
    ),
    Bug(
        "the state written in place",
        "hatnet/training/state.py",
        "write_whole(path, save(tensors, metadata))",
        "path.write_bytes(save(tensors, metadata))",
        TRAINING + "test_interruptions.py::test_a_full_disk_leaves_the_last_good_state",
    ),
    Bug(
        "slices dealt out in turn",
        "hatnet/training/sampling.py",
        "range(rank * share, (rank + 1) * share)",
        "range(rank, self.slices, processes)",
        TRAINING + "test_sampling.py::test_several_processes_draw_what_one_process_draws",
    ),
    Bug(
        "test images that don't go round evenly left out",
        "hatnet/training/batches.py",
        "range(rank, len(images), processes)",
        "range(rank, len(images) - len(images) % processes, processes)",
        TRAINING + "test_batches.py::test_processes_together_test_each_image_once",
    ),
    Bug(
        "an image augmented alike in every epoch",
        "hatnet/training/batches.py",
        'derive(self.seed, "augment", draw.position)',
        'derive(self.seed, "augment", draw.index)',
        TRAINING + "test_transforms.py::test_augmentation_depends_only_on_seed_and_position",
    ),
    Bug(
        "the coarse label of CIFAR-100",
        "hatnet/data/sources.py",
        "records[:, label_bytes - 1]",
        "records[:, 0]",
        TRAINING + "test_sources.py::test_cifar_labels_lie_before_the_pixels",
    ),
)  # fmt: skip


def run_test(test: str, bug: Bug | None = None) -> subprocess.CompletedProcess[str]:
    """Run one test in a copy of the repository, with a bug planted in it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("hatnet", "reference", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "site"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if bug is not None:
            file = copy / bug.file
            source = file.read_text(encoding="utf-8")
            if source.count(bug.old) != 1:
                raise ValueError(f"{bug.name}: {bug.file} holds {source.count(bug.old)} times: {bug.old}")
            file.write_text(source.replace(bug.old, bug.new), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": folder, "HYPOTHESIS_PROFILE": "planted"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", test]
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


def verdict(bug: Bug) -> tuple[bool, str]:
    """Whether the named test turned red because a claim failed, and the line that says so."""
    result = run_test(bug.test, bug)
    reasons = re.findall(r"^E +(.*\S)", result.stdout, re.MULTILINE)
    red = result.returncode == 1 and any("AssertionError" in reason or "assert " in reason for reason in reasons)
    return red, next(iter(reasons), result.stdout[-300:] + result.stderr[-300:])


def main(words: str = "") -> int:
    """Plant the bugs whose name holds `words`; the number that no test saw."""
    if find_spec("pytest") is None:
        print("planting bugs needs pytest: python -m pip install -c constraints.txt -e '.[dev]'")
        return 1
    bugs = [bug for bug in BUGS if words in bug.name]
    if not bugs:
        print(f"no bug's name holds {words!r}; they are: {', '.join(bug.name for bug in BUGS)}")
        return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tests = sorted({bug.test for bug in bugs})
        for test, control in zip(tests, pool.map(run_test, tests), strict=True):
            if control.returncode:
                print(f"[RED]      without a bug: {test}\n{control.stdout[-2000:]}{control.stderr[-2000:]}")
                survivors += 1
        rows = []
        for bug, (red, reason) in zip(bugs, pool.map(verdict, bugs), strict=True):
            print(f"{'[FOUND]   ' if red else '[SURVIVED]'} {bug.name}\n           {bug.test}\n           {reason}")
            survivors += not red
            rows.append({**asdict(bug), "found": red})
    print(f"{len(bugs) - survivors} of {len(bugs)} planted bugs turned their test red")
    if not words and not survivors:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return survivors


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
