# %% [markdown]
# # Making it fast
#
# **The question.** Tutorial 3 counted every multiplication of a HAT-Net. Divide them by what a processor can multiply
# in a second, and you know the least time that the network can take. The first version of this project's network took
# more than half as long again. Where does the rest of the time go, and how much of it can we get back without changing
# a result?
#
# We measure at every step: first a profile, then the bound, then the gap between them, then three changes of a few
# lines each. Everything here runs on one core of a processor. The numbers come from the machine that built this page;
# run the script to get yours. The ratios should be similar.
#
# **Predict before you read on**, and write down three answers. Parts 2, 3 and 4 check them.
#
# 1. What share of the time is spent in multiplications: matrices, convolutions and attention products?
# 2. SiLU is one exponential, one addition and one division per number. Is its share of the time 1, 3 or 10 per cent?
# 3. A batch of six images is computed one image at a time. Is that slower, equal or faster?

# %% [fold: Imports]
"""Tutorial 9: from a profile to the roofline, page faults, and inference in pieces."""

import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import hatnet
from hatnet.complexity import network_costs, total, training_memory
from hatnet.lean import LARGEST, lean_inference
from hatnet.network import Block

torch.set_num_threads(1)
BLUE, ORANGE, GREEN, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#999999", "#9CCBE8"
BATCH = 6

torch.manual_seed(0)
model = hatnet.create_model("small").eval()
images = torch.randn(BATCH, 3, 224, 224)

# %% [markdown]
# ## 1. A clock to trust
#
# One timing says little. The first call of a network is slow, because memory is new and kernels are chosen; another
# program may run in between; and a processor that has become warm is slower. So we warm up, time all candidates **in
# turn** in each of several rounds, and compare medians. A slow second then hits all candidates alike.
#
# We read the processor's own clock, which stops while another program runs, and count **page faults**, which part 4
# explains.


# %%
def measure(
    candidates: dict[str, Callable[[], object]], rounds: int = 5
) -> dict[str, tuple[float, float, float]]:
    """Median seconds of each candidate, spread (largest minus smallest), and page faults."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    faults = dict.fromkeys(candidates, 0)
    for number in range(rounds + 1):
        for name, candidate in candidates.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start = time.process_time()
            candidate()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - start)
            faults[name] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {
        name: (statistics.median(times), max(times) - min(times), faults[name])
        for name, times in seconds.items()
    }


@torch.inference_mode()
def whole_maps() -> Tensor:
    """The network as the equations read: each layer computes the whole batch."""
    with lean_inference(None):
        return model(images)


median, spread, _ = measure({"whole": whole_maps})["whole"]
print(f"{median / BATCH:.3f} s per image, spread {spread / median:.0%}")

# %% [markdown]
# `lean_inference(None)` switches off what this tutorial is about to build.
#
# ## 2. Where the time goes
#
# PyTorch's profiler lists every operation with its time. We sort the operations into a few kinds.

# %%
KINDS = {
    "matrices": ("mm", "addmm"),
    "convolutions": ("mkldnn_convolution",),
    "attention products": ("_scaled_dot_product_flash_attention_for_cpu",),
    "SiLU": ("silu", "silu_"),
    "norms": ("native_layer_norm", "addcmul"),
    "copies and sums": ("copy_", "cat", "add", "add_"),
}


def time_by_kind(run: Callable[[], object]) -> dict[str, float]:
    """Seconds per image of each kind of operation."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name in names), "the rest")
        spent[kind] += event.self_cpu_time_total / 1e6 / BATCH
    return {kind: spent[kind] for kind in (*KINDS, "the rest")}


profiled = time_by_kind(whole_maps)
everything = sum(profiled.values())
for kind, seconds in profiled.items():
    print(f"{kind:20} {1000 * seconds:6.1f} ms per image, {seconds / everything:5.1%}")

# %%
COLOURS = dict(
    zip(profiled, (BLUE, "#56B4E9", GREEN, ORANGE, "#CC79A7", "#E69F00", GREY), strict=True)
)


def draw_bar(
    ax: plt.Axes, y: float, parts: dict[str, float], colours: dict[str, str], labels: bool = True
) -> None:
    """One horizontal bar of milliseconds, divided into parts."""
    left = 0.0
    for name, seconds in parts.items():
        width = 1000 * seconds
        ax.barh(
            y,
            width,
            left=left,
            height=0.6,
            color=colours[name],
            edgecolor="white",
            linewidth=0.8,
            label=name,
        )
        if labels and width > 0.06 * 1000 * everything:
            ax.text(
                left + width / 2,
                y,
                f"{width:.0f}",
                ha="center",
                va="center",
                color="white",
                weight="bold",
            )
        left += width


# %% [fold: Code of this figure]
fig, ax = plt.subplots(figsize=(9.5, 2.3), layout="constrained")
fig.set_label(
    "One bar of the time of an image, divided into kinds of operations. Matrices take most, SiLU "
    "a tenth or more."
)
draw_bar(ax, 0, profiled, COLOURS)
ax.set(
    yticks=[],
    xlabel="ms per image, one core",
    title="HAT-Net Small, 224 x 224: time by kind of operation",
)
ax.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.45), frameon=False)
ax.spines[["left", "top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Multiplications take most of the time, but far from all. SiLU takes a tenth or more, although it has less than one
# operation for every hundred MACs of the network.
#
# ## 3. The least time
#
# How fast could it be? We measure three **peak rates** of this core: MACs per second in a product of two large
# matrices, MACs per second in a depthwise convolution, and numbers per second through SiLU. The data are small enough
# to stay in the cache, and the memory exists already, so these rates are hard to beat.


# %%
def best(run: Callable[[], object], calls: int) -> float:
    """The seconds of the fastest of several calls."""
    times = []
    for _ in range(calls):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


A, B, product = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
wide, taps, passed = (
    torch.randn(1, 128, 56, 56),
    torch.randn(128, 1, 3, 3),
    torch.empty(1, 128, 56, 56),
)
wide, passed = (x.contiguous(memory_format=torch.channels_last) for x in (wide, passed))
with torch.inference_mode():
    matrix_rate = 1024**3 / best(lambda: torch.mm(A, B, out=product), 15)
    depthwise_rate = (
        9 * wide.numel() / best(lambda: F.conv2d(wide, taps, padding=1, groups=128), 50)
    )
    silu_rate = wide.numel() / best(lambda: torch.ops.aten.silu.out(wide, out=passed), 50)
print(
    f"{matrix_rate / 1e9:.0f} G MAC/s in matrices, {depthwise_rate / 1e9:.0f} G MAC/s in "
    "depthwise convolutions"
)
print(f"{silu_rate / 1e9:.1f} G numbers/s through SiLU")

# %% [markdown]
# The formulas of tutorial 3 give the work: MACs in matrices, MACs in depthwise convolutions, and the numbers that pass
# SiLU, which are those of the depthwise convolutions, before and after. Work divided by rate is time.

# %%
config = model.config
macs = total(network_costs(config, 224, 224)).macs
depthwise = macs["depthwise"]
matrices = sum(macs.values()) - depthwise
hidden = sum(
    stage.depth * stage.expansion * stage.channels * layout.map[0] * layout.map[1]
    for stage, layout in zip(config.stages, config.layout(224, 224), strict=True)
)
assert depthwise == 9 * hidden
bound = {
    "matrices": matrices / matrix_rate,
    "convolutions": depthwise / depthwise_rate,
    "SiLU": 2 * hidden / silu_rate,
}
least = sum(bound.values())
print(
    f"{matrices / 1e9:.2f} G MACs in matrices, {depthwise / 1e6:.0f} M in depthwise, "
    f"{2 * hidden / 1e6:.0f} M SiLUs"
)
print(
    f"at least {1000 * least:.0f} ms per image; measured {1000 * median / BATCH:.0f} ms, "
    f"{least * BATCH / median:.0%}"
)

# %% [markdown]
# This bound is the network's **roofline**: no program that computes the network with these kernels is faster. The page
# on [speed](../speed.md) draws it part by part. The time of whole maps is far above it. SiLU alone could take a quarter
# to a third of the time that the profile shows for it. Something else takes the rest.
#
# ## 4. The gap: memory that is new every time
#
# Compare one SiLU over one hidden map of stage 0, for six images, in three ways: with a new result each time, with one
# result that is written again and again, and image by image.

# %%
x = torch.randn(BATCH, 56, 56, 512)
kept = torch.empty_like(x)


def image_by_image() -> None:
    """Compute a new map for each image, and free it before the next."""
    for image in x:
        F.silu(image)


with torch.inference_mode():
    ways = measure(
        {
            "a new map each time": lambda: F.silu(x),
            "the same map again": lambda: torch.ops.aten.silu.out(x, out=kept),
            "new, image by image": image_by_image,
        },
        rounds=11,
    )
print(f"a hidden map has {x.nbytes / 2**20:.1f} MiB")
for name, (seconds, _, faults) in ways.items():
    print(f"{name:20} {1000 * seconds:5.1f} ms, {faults:6,} page faults")

# %% [markdown]
# The arithmetic is the same, and so is the amount of memory that is written. The difference is where it comes from. A
# large tensor gets its memory from the operating system, and gives it back when it is freed. The system hands memory
# out in **pages** of 4 KiB, and only when the program first touches each one. That is a **page fault**: the program
# stops, the system looks for a free page, fills it with zeros, so that nobody reads what another program left there,
# and returns. For every page, at every layer, in every batch.
#
# Small tensors do not have this problem. The C library keeps freed memory of up to 32 MiB per tensor, and gives the
# same pages to the next tensor.

# %%
new, again = ways["a new map each time"], ways["the same map again"]
per_fault = (new[0] - again[0]) / max(1, new[2] - again[2])
whole = measure({"whole": whole_maps}, rounds=3)["whole"]
print(f"about {1e6 * per_fault:.2f} us per page fault")
print(
    f"{whole[2]:,.0f} page faults in a batch: about {per_fault * whole[2] / whole[0]:.0%} of its "
    "time"
)

# %% [markdown]
# ## 5. Three changes
#
# All three leave every number as it is, but for the order in which sums are rounded.
#
# **SiLU in place.** Without a gradient, nobody needs the input of SiLU again, so its output may overwrite it. That
# saves one new map out of two.
#
# **A few images at a time.** Images do not affect each other. One image's hidden map in stage 0 has 6 MiB, so it stays
# in the cache until the next layer reads it, and its memory is kept by the C library.
#
# **A few hidden channels at a time.** At 224 pixels we need no more. But an image of 800 x 1280 pixels has a hidden map
# of 125 MiB. Depthwise convolution and SiLU keep channels apart, and the last matrix adds channels up. So we may
# compute 64 hidden channels, multiply them by their columns of the matrix, and add the result to the sum so far.


# %%
def mlp_in_place(block: Block, x: Tensor) -> Tensor:
    """The MLP of a block, where SiLU overwrites its input."""
    mlp = block.mlp
    x = F.silu(mlp.expand(mlp.norm_in(x)), inplace=True)  # (B, H, W, E C)
    x = F.silu(mlp.depthwise(x), inplace=True)  # (B, H, W, E C)
    return mlp.norm_out(mlp.contract(x))  # (B, H, W, C)


def run(at_once: int, mlp: Callable[[Block, Tensor], Tensor]) -> Tensor:
    """The network, with every block computing `at_once` images at a time."""

    def computed(block: Block, x: Tensor) -> Tensor:
        x = block.attention(x) + x
        return mlp(block, x) + x

    with torch.inference_mode(), lean_inference(None):
        x = model.stem(images.permute(0, 2, 3, 1))
        for stage in model.stages:
            x = x if stage.downsample is None else stage.downsample(x)
            for block in stage.blocks:
                x = torch.cat([computed(block, piece) for piece in x.split(at_once)])
        return model.classifier(x.mean(dim=(1, 2)))


@torch.inference_mode()
def lean() -> Tensor:
    """The network as it is."""
    return model(images)


steps = {
    "whole maps": whole_maps,
    "SiLU in place": lambda: run(BATCH, mlp_in_place),
    "and one image at a time": lambda: run(1, mlp_in_place),
    "hatnet": lean,
}
for step in steps.values():
    assert torch.allclose(step(), whole_maps(), atol=1e-5)
measured = measure(steps)
for name, (seconds, spread, faults) in measured.items():
    print(
        f"{name:24} {1000 * seconds / BATCH:4.0f} ms per image ± {500 * spread / BATCH:2.0f}, "
        f"{faults:8,} page faults"
    )

# %% [fold: Code of this figure]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.1), layout="constrained", sharey=True)
fig.set_label(
    "Two bar charts over four steps: time falls towards the bound, and page faults fall to "
    "almost none."
)
names, colours = list(measured), [GREY, PALE, BLUE, ORANGE]
left.barh(names, [1000 * measured[name][0] / BATCH for name in names], color=colours, height=0.6)
left.axvline(1000 * least, color="#444444", linestyle="--", linewidth=1)
left.text(1000 * least, 3.4, " the bound", fontsize=8, va="center")
left.set(xlabel="ms per image", title="Time")
right.barh(names, [measured[name][2] / 1000 for name in names], color=colours, height=0.6)
right.set(xlabel="page faults per batch, in thousands", title="Page faults")
left.invert_yaxis()
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# One image at a time is not only as fast as a batch of six, it is faster. This surprises people who know GPUs: there a
# batch keeps thousands of units busy. One core has a few units, and a single image of stage 0 is a matrix with 3136
# rows, which is plenty.
#
# `hatnet` computes inference in this way by default, where no gradient is needed, on a CPU, unless somebody could
# notice: a hook on a layer, a trace, a compiler. The code is one file, `hatnet/lean.py`, and the tests compare it with
# the NumPy reference at pieces of every size.
#
# ## 6. How small should the pieces be?
#
# Smaller pieces fit a smaller cache. But matrix products with few rows or columns are slower, and every call of an
# operation costs a few microseconds. In between there is a valley. The experiment takes one image of 512 x 640 pixels,
# whose hidden map in stage 0 has 40 MiB. It limits two hidden maps, which are alive at once, to 1/4 MiB and more.

# %%
LIMITS = [2**power for power in range(-2, 7)]  # MiB
large = torch.randn(1, 3, 512, 640)


@torch.inference_mode()
def limited(limit: float) -> Tensor:
    """The network on the large image, with at most `limit` MiB for two hidden maps."""
    with lean_inference(int(limit * 2**20), fewest=1):
        return model(large)


valley = measure({str(limit): (lambda limit=limit: limited(limit)) for limit in LIMITS}, rounds=3)

# %% [fold: Code of this figure]
fig, ax = plt.subplots(figsize=(9.5, 3), layout="constrained")
fig.set_label(
    "Time of a large image against the limit for two hidden maps: a valley between small and "
    "large pieces."
)
ax.plot(LIMITS, [valley[str(limit)][0] for limit in LIMITS], "o-", color=BLUE)
ax.axvline(LARGEST / 2**20, color=ORANGE, linestyle="--", linewidth=1.2)
ax.text(LARGEST / 2**20, ax.get_ylim()[1], " the default", color=ORANGE, va="top")
ax.set_xscale("log", base=2)
ax.set_xticks(LIMITS, [f"{limit:g}" for limit in LIMITS])
ax.set(
    xlabel="limit for two hidden maps, in MiB",
    ylabel="seconds",
    title="One image of 512 x 640 pixels",
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## 7. What is left
#
# Profile the network again, as it is now, and put it beside the bound.

# %%
now = time_by_kind(lean)

# %% [fold: Code of this figure]
fig, ax = plt.subplots(figsize=(9.5, 2.8), layout="constrained")
fig.set_label("Three bars of time by kind: whole maps, as hatnet computes now, and the bound.")
for y, parts in enumerate((profiled, now, bound)):
    draw_bar(ax, y, parts, COLOURS)
ax.set_yticks(range(3), ["whole maps", "hatnet", "the bound"])
ax.invert_yaxis()
ax.set(xlabel="ms per image, one core")
handles, kinds = ax.get_legend_handles_labels()
ax.legend(
    handles[:7],
    kinds[:7],
    ncols=3,
    fontsize=8,
    loc="upper center",
    bbox_to_anchor=(0.5, -0.3),
    frameon=False,
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
for kind, seconds in now.items():
    print(f"{kind:20} {1000 * seconds:6.1f} ms per image, {seconds / sum(now.values()):5.1%}")

# %% [markdown]
# Most of what is left is multiplications. To be much faster one must multiply less, with another network; multiply
# faster, in 16 bits where the processor has the instructions; or use more cores. Two more ideas were tried for this
# project and left out. Folding the norm into the first matrix was worth 2 per cent. A kernel written in C for SiLU and
# the depthwise convolution was hardly faster than PyTorch's. Neither pays for code that is harder to read.
#
# ## 8. Training: memory for time
#
# In training the maps must be kept, because the backward pass needs them. But it could also compute them again.
# `model.recompute_mlps()` keeps only the narrow maps of each MLP and computes the wide ones a second time.

# %%
labels = torch.randint(0, 1000, (2,))


def train(recompute: bool) -> None:
    """One forward and one backward pass of two images."""
    model.recompute_mlps(recompute)
    F.cross_entropy(model(images[:2]), labels).backward()
    model.zero_grad()


model.train()
trained = measure({"kept": lambda: train(False), "recomputed": lambda: train(True)}, rounds=4)
model.eval().recompute_mlps(False)
kept_mib, recomputed_mib = (
    4 / 2**20 * training_memory(config, 224, 224, recompute=choice) for choice in (False, True)
)
ratio = trained["recomputed"][0] / trained["kept"][0]
print(
    f"{kept_mib:.0f} MiB per image are kept, or {recomputed_mib:.0f} MiB, "
    f"{recomputed_mib / kept_mib:.0%}"
)
print(f"time: {ratio:.2f} times as long")

# %% [markdown]
# ## Exercises
#
# **1. Twice as wide.** In a HAT-Net with twice the expansion in every stage, which share of the bound would SiLU and
# the depthwise convolution have? Compute it from the rates of part 3.

# %% solution
wider = hatnet.get_config(
    "small", expansions=tuple(2 * expansion for expansion in config.expansions)
)
wider_macs = total(network_costs(wider, 224, 224)).macs
narrow = sum(wider_macs.values()) - wider_macs["depthwise"]
assert wider_macs["depthwise"] == 2 * depthwise
others = wider_macs["depthwise"] / depthwise_rate + 4 * hidden / silu_rate
share = others / (others + narrow / matrix_rate)
print(f"{(bound['convolutions'] + bound['SiLU']) / least:.1%} before, {share:.1%} then")
assert share > (bound["convolutions"] + bound["SiLU"]) / least  # matrices of attention do not grow

# %% [markdown]
# **2. Pages by arithmetic.** How many page faults should one new hidden map of stage 0 cost, for six images, if every
# page is touched once? Compare with part 4. Some systems hand out several pages at a time.

# %% solution
expected = x.nbytes / 4096
print(f"{expected:,.0f} pages; counted {new[2]:,}")
assert new[2] <= 1.1 * expected

# %% [markdown]
# **3. In pieces by hand.** Write the MLP of one block for a group of hidden channels at a time, and check that it gives
# the same result for groups of 64, 100 and 512 channels. Where does the code use that the depthwise convolution keeps
# channels apart?


# %% solution
def mlp_in_groups(block: Block, x: Tensor, size: int) -> Tensor:
    """The MLP, summed up over groups of `size` hidden channels."""
    mlp, normed = block.mlp, block.mlp.norm_in(x)
    result = torch.zeros_like(x)
    for first in range(0, mlp.expand.out_features, size):
        group = slice(first, first + size)
        hidden = F.silu(F.linear(normed, mlp.expand.weight[group])).permute(0, 3, 1, 2)
        taps = mlp.depthwise.weight[group]  # those of these channels alone: it keeps channels apart
        hidden = F.silu(F.conv2d(hidden, taps, padding=1, groups=len(taps))).permute(0, 2, 3, 1)
        result += F.linear(hidden, mlp.contract.weight[:, group])
    return mlp.norm_out(result)


with torch.no_grad():
    block, tokens = model.stages[0].blocks[0], torch.randn(2, 10, 12, 64)
    for size in (64, 100, 512):
        assert torch.allclose(mlp_in_groups(block, tokens, size), block.mlp(tokens), atol=1e-4)
print("equal for all groups")

# %% [markdown]
# ## What to remember
#
# - Count the work, measure the rates, divide: the roofline tells you when to stop.
# - A profile shows where time is spent, not why. Here the reason was memory that was new at every layer.
# - On a CPU, pieces that fit the cache beat large batches, and they change no result.
# - Time candidates in turn, in rounds, and report the spread. Ratios outlive machines; seconds do not.
