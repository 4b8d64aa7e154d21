# %% [markdown]
# # What does hierarchical attention cost?
#
# **The question.** In tutorial 2 every token reached the whole map by looking twice, near and far. How cheap is that
# exactly, which part costs most, and where is it *not* cheap? Each square below is one multiplication, for a map of
# only 16 tokens with 2 channels. Pale squares multiply tokens by learnt matrices, strong ones multiply tokens by
# tokens.

# %% [fold: Imports]
"""Tutorial 3: every multiplication counted, Eq. 5 and 15 derived, memory and time."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import NullFormatter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import hatnet
import hatnet.layers
import reference
from hatnet.complexity import (
    Cost,
    equation_5,
    equation_15,
    h_mhsa_cost,
    inference_memory,
    mhsa_cost,
    network_costs,
    total,
    training_memory,
)
from hatnet.complexity.memory import attention_weights, training_memory_by_part
from hatnet.equivalence import randomise
from hatnet.studies.scaling import Record, Settings, measure, read

torch.set_num_threads(1)  # times are easier to compare on one core
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, PEACH, MINT, GREY = "#9CCBE8", "#F3BE98", "#A5D8C6", "#999999"
SMALL = hatnet.get_config("small")
DENSE = replace(SMALL, grid_sizes=(8, 8, 8), pool_sizes=(16, 8, 4))  # the paper's, large images

# %% [fold: Code of this figure]
COLOURS = {"Wp": GREY, "W1": SKY, "1": BLUE, "W2": PEACH, "2": ORANGE, "W": MINT, "": GREEN}


def colour(term: str) -> str:
    """Blue near, orange far, green plain; pale for matrices, strong for products; W^p grey."""
    fits = (shade for mark, shade in COLOURS.items() if all(sign in term for sign in mark))
    return COLOURS[term] if term in COLOURS else next(fits)


def draw_macs(ax: plt.Axes, counts: dict[str, int], name: str) -> None:
    """Draw one square per MAC, in columns of 16, with a gap between terms."""
    x = 0.0
    for term, count in counts.items():
        width = count / 16
        ax.add_patch(plt.Rectangle((x, 0), width, 16, color=colour(term), linewidth=0))
        ax.vlines(x + np.arange(1, width), 0, 16, color="white", linewidth=0.7)
        place = {"rotation": 30, "rotation_mode": "anchor", "fontsize": 8}
        ax.text(x + width / 2, 17, f"{term}, {count}", **place)
        x += width + 0.8
    ax.hlines(np.arange(1, 16), 0, x, color="white", linewidth=0.7)
    ax.set_title(f"{name}: {sum(counts.values())} multiplications", loc="left", weight="bold")
    ax.set(xlim=(0, 92), ylim=(0, 30), aspect="equal")
    ax.axis("off")


fig, axes = plt.subplots(2, 1, figsize=(8, 5.4), layout="constrained")
fig.set_label(
    "One square per multiplication. Plain attention has 1280, most of them products of tokens "
    "with tokens. H-MHSA has 864, most of them products with matrices."
)
draw_macs(axes[0], mhsa_cost(4, 4, C=2).macs, "plain attention")
draw_macs(axes[1], h_mhsa_cost(4, 4, C=2, G1=2, G2=2).macs, "H-MHSA")
plt.show()

# %% [markdown]
# H-MHSA is already cheaper here, 864 against 1280: it has *more* matrices and fewer products of tokens. Everything
# below is about the balance between these two kinds. The paper claims a cost of $O\big(HW G_1^2 + (HW)^2 / G_2^2\big)$
# instead of $O\big((HW)^2\big)$; such an $O$ hides every constant, and we want the constants.
#
# The unit is the **MAC**, a multiplication with its addition: one step of `sum += a * b`. The product of an $(n, k)$
# and a $(k, m)$ matrix has $n k m$ MACs. A MAC is *two* FLOPs, floating-point operations. Papers on vision models print
# MACs and call them FLOPs; we keep the two terms apart. We do not count softmax, normalisation, pooling and biases.
#
# **Predict before you read on**, and write down two answers. Parts 5 and 6 check them.
#
# 1. HAT-Net Small takes 4.3 G "FLOPs" according to the paper. What share of that is $Q K^T$ and weights times $V$?
# 2. The image becomes twice as wide and high. By what factor does the cost of H-MHSA grow?

# %% [markdown]
# ## 1. Every multiplication, by hand
#
# The smallest case that contains every part has 16 tokens, 2 channels, four windows of 4 tokens and four cells of 4
# tokens. Does it really take as many multiplications as the figure shows? `product` multiplies two matrices number by
# number, and counts. (A pencil works, too.)

# %%
H, W, C, G1, G2 = 4, 4, 2, 2, 2
layers = {"plain": hatnet.MHSA(C, heads=1).double(), "H-MHSA": hatnet.HMHSA(C, 1, G1, G2).double()}
for layer in layers.values():
    randomise(layer, seed=0)
x = np.random.default_rng(0).normal(size=(H, W, C))
macs: dict[str, int] = {}


def product(A: np.ndarray, B: np.ndarray, term: str) -> np.ndarray:
    """A @ B, computed number by number; every MAC is counted under `term`."""
    result = np.zeros((A.shape[0], B.shape[1]))
    for n, m in np.ndindex(result.shape):
        for k in range(B.shape[0]):
            result[n, m] += A[n, k] * B[k, m]
            macs[term] = macs.get(term, 0) + 1
    return result


def project(X: np.ndarray, p: dict, name: str, term: str) -> np.ndarray:
    """Multiply every token by a matrix of the layer, and add the bias."""
    return product(X, p[f"{name}.weight"].T, term) + p[f"{name}.bias"]


def attend(Q: np.ndarray, K: np.ndarray, V: np.ndarray, index: str = "") -> np.ndarray:
    """Eq. 2, one head."""
    weights = reference.softmax(product(Q, K.T, f"Q{index} K{index}^T") / np.sqrt(Q.shape[1]))
    return product(weights, V, f"softmax V{index}")


p = hatnet.to_numpy(layers["plain"])
X = reference.group_norm(x, **reference.within(p, "norm")).reshape(16, 2)
Q, K, V = np.split(project(X, p, "qkv", "Wq Wk Wv"), 3, axis=1)
plain = project(attend(Q, K, V), p, "projection", "Wp")
assert np.allclose(plain.reshape(x.shape), reference.mhsa(x, p, heads=1))
plain_macs, macs = macs, {}

p = hatnet.to_numpy(layers["H-MHSA"])
X, A1 = reference.group_norm(x, **reference.within(p, "norm")), np.empty_like(x)
for _, _, window in reference.windows(H, W, G1):
    Q1, K1, V1 = np.split(
        project(X[window].reshape(4, 2), p, "local_attention.qkv", "W1q W1k W1v"), 3, axis=1
    )
    A1[window] = attend(Q1, K1, V1, "1").reshape(2, 2, 2)
A1 = reference.group_norm(A1 + x, **reference.within(p, "local_norm"))
merged = reference.merge(A1, p, G2).reshape(4, 2)
Q2 = project(A1.reshape(16, 2), p, "global_attention.q", "W2q")
K2, V2 = np.split(project(merged, p, "global_attention.kv", "W2k W2v"), 2, axis=1)
A2 = attend(Q2, K2, V2, "2")
ours = project(A1.reshape(16, 2) + A2, p, "projection", "Wp")
assert np.allclose(ours.reshape(x.shape), reference.h_mhsa(x, p, 1, G1, G2))

for name, counts in (("plain", plain_macs), ("H-MHSA", macs)):
    print(f"{name}: {sum(counts.values())} =", " + ".join(map(str, counts.values())))

# %% [markdown]
# ## 2. From the count to the formulas
#
# Nothing above depended on the numbers 4 and 2. We can read off the terms for any map of $H \times W$ tokens that $G_1$
# and $G_2$ divide. **Plain attention:**
#
# - $W^q, W^k, W^v$: a product of $(HW, C)$ with $(C, C)$, three times: $3 HW C^2$.
# - $Q K^T$: $(HW, C)$ with $(C, HW)$, so $(HW)^2 C$. With heads, $C / d$ products of inner size $d$ give the same.
# - weights times $V$: $(HW, HW)$ with $(HW, C)$, so $(HW)^2 C$.
#
# $$\Omega(\text{MHSA}) = 3 HW C^2 + 2 (HW)^2 C \qquad\text{(5)}$$
#
# **H-MHSA, near:** three matrices, as above: $3 HW C^2$. Then there are $HW / G_1^2$ windows, and each has two products
# of $G_1^2$ queries with $G_1^2$ keys: $2 G_1^4 C$. Together they take $2 HW G_1^2 C$.
#
# **H-MHSA, far:** queries from all tokens, $HW C^2$; keys and values from $HW / G_2^2$ merged tokens,
# $2 \frac{HW}{G_2^2} C^2$; two products of $HW$ queries with $HW / G_2^2$ keys, $2 HW \frac{HW}{G_2^2} C$. The sum,
# with the terms in $HWC$ first and those in $1/G_2^2$ last, is
#
# $$\Omega(\text{H-MHSA}) = HWC\,(4C + 2 G_1^2) + 2\,\frac{HW}{G_2^2}\, C\,(C + HW) \qquad\text{(15)}$$
#
# Both leave out $W^p$, which costs $HW C^2$. `hatnet.complexity` has every term by name, including $W^p$:

# %%
assert mhsa_cost(H, W, C).macs == plain_macs
assert h_mhsa_cost(H, W, C, G1, G2).macs == macs
assert equation_5(H, W, C) == sum(plain_macs.values()) - plain_macs["Wp"] == 1216
assert equation_15(H, W, C, G1, G2) == sum(macs.values()) - macs["Wp"] == 800
for term, count in h_mhsa_cost(56, 56, 64, G1=8, G2=8).macs.items():
    print(f"{term:12} {count:12,}")

# %% [markdown]
# ## 3. Formula against counter
#
# By hand we can count only tiny cases. PyTorch can count while it runs, at any size: its `FlopCounterMode` counts each
# matrix product. (It reports FLOPs, so we halve them. It misses fused attention on a CPU, hence the MATH backend.) The
# two counts must agree to the last digit.
#
# ??? question "Predict: 15 x 22 tokens, $G_1 = 8$. Do the reference and PyTorch compute the same number of MACs?"
#     No. At the border the reference cuts windows of 7 x 8 and 7 x 6. PyTorch fills them with zeros up to 8 x 8, so
#     that all windows form one batch, and multiplies the zeros too. `padded=True` counts them.


# %%
def counted(layer: torch.nn.Module, *shape: int) -> int:
    """The MACs that PyTorch counts while the layer runs on one input."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        layer(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


print("    map       C  G1  G2          plain       H-MHSA   for padding   plain / H-MHSA")
for H, W, C, d, G1, G2 in (
    (56, 56, 64, 64, 8, 8),
    (28, 28, 128, 64, 7, 4),
    (14, 14, 320, 64, 7, 2),
    (15, 22, 48, 48, 8, 4),
    (25, 42, 320, 64, 8, 4),
):
    plain, exact, padded = (
        mhsa_cost(H, W, C),
        h_mhsa_cost(H, W, C, G1, G2),
        h_mhsa_cost(H, W, C, G1, G2, padded=True),
    )
    assert counted(hatnet.MHSA(C, C // d), H, W, C) == plain.total_macs
    assert counted(hatnet.HMHSA(C, C // d, G1, G2), H, W, C) == padded.total_macs
    print(
        f"  {H:2} x {W:2}   {C:5}  {G1:2}  {G2:2} {plain.total_macs:14,} {padded.total_macs:12,}"
        f" {padded.total_macs - exact.total_macs:13,} {plain.total_macs / padded.total_macs:17.2f}"
    )

# %% [markdown]
# The ratio in the third row is below 1: there H-MHSA costs more. Part 4 explains why. From now on we count without
# padding.
#
# ## 4. Which term dominates where
#
# The figure divides the MACs of one H-MHSA into shares, for each stage of HAT-Net Small that has hierarchical attention
# (stages are counted from 0 as in the code; the paper's Table 1 numbers them 2 to 4). One group of bars is for a photo,
# the other for an image as large as in detection, with the paper's $G_1 = 8, 8, 8$ and $G_2 = 16, 8, 4$. The number
# beside each bar is the cost of plain attention divided by that of H-MHSA.

# %% [fold: Code of this figure]
GROUPS = {
    "matrices, near": ("W1q W1k W1v",),
    "products, near": ("Q1 K1^T", "softmax V1"),
    "matrices, far": ("W2q", "W2k W2v"),
    "products, far": ("Q2 K2^T", "softmax V2"),
    "$W^p$": ("Wp",),
}
rows = []
for config, size in ((SMALL, (224, 224)), (DENSE, (800, 1280))):
    for index, (stage, layout) in enumerate(
        zip(config.stages[:3], config.layout(*size), strict=False)
    ):
        cost = h_mhsa_cost(*layout.map, stage.channels, stage.grid_size, stage.pool_size)
        ratio = mhsa_cost(*layout.map, stage.channels).total_macs / cost.total_macs
        rows.append(
            (
                f"{size[0]} x {size[1]}, stages.{index}\n{layout.map[0]} x {layout.map[1]}, C = "
                f"{stage.channels}",
                {
                    name: sum(cost.macs[t] for t in terms) / cost.total_macs
                    for name, terms in GROUPS.items()
                },
                ratio,
            )
        )

fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
fig.set_label(
    "Shares of MACs by stage: matrices dominate small maps, far products the first stage of "
    "large images."
)
starts = np.zeros(len(rows))
for name, shade in zip(GROUPS, (SKY, BLUE, PEACH, ORANGE, GREY), strict=True):
    widths = np.array([100 * shares[name] for _, shares, _ in rows])
    ax.barh(range(len(rows)), widths, left=starts, color=shade, label=name, edgecolor="white")
    for y, (width, start) in enumerate(zip(widths, starts, strict=True)):
        if width > 4:
            dark = shade in (BLUE, ORANGE)
            ax.text(
                start + width / 2,
                y,
                f"{width:.0f}",
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    starts += widths
for y, (_, _, ratio) in enumerate(rows):
    ax.text(
        101,
        y,
        f"{ratio:.2f} x" if ratio < 1 else f"{ratio:.3g} x",
        va="center",
        weight="bold" if ratio < 1 else "normal",
    )
ax.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
ax.set(
    title="One H-MHSA: shares of its MACs; at the right, plain / H-MHSA",
    xlabel="per cent",
    xlim=(0, 110),
)
ax.invert_yaxis()
fig.legend(ncols=3, loc="outside lower center", frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Try it: one attention module, on one image. Striped bars are matrices, solid bars are products of tokens.
#
# <div>
# <cost-sliders>
# <p>The page of this tutorial on the site has sliders here, which need JavaScript. The page "Cost formulas" has the
# same numbers as tables.</p>
# </cost-sliders>
# </div>
#
# Divide Eq. 5 and 15 by $HWC$. The result is the work for *one channel of one token*:
#
# $$3 C + 2 HW \qquad\text{against}\qquad 4 C + 2 G_1^2 + 2\,\frac{C + HW}{G_2^2}$$
#
# Plain attention pays for the size of the map. H-MHSA pays for one more matrix, $C$, and then only for the keys that a
# token attends to. In `stages.2` the map has only 196 tokens but $C = 320$, so the extra matrix costs more than it
# saves:


# %%
def per_token(H: int, W: int, C: int, G1: int, G2: int) -> tuple[float, float]:
    """Eq. 5 and Eq. 15 divided by H W C."""
    return equation_5(H, W, C) / (H * W * C), equation_15(H, W, C, G1, G2) / (H * W * C)


print("stages.2, plain: 3 * 320 + 2 * 196                         =", 3 * 320 + 2 * 196)
print(
    "stages.2, ours:  4 * 320 + 2 * 49 + 2 * (320 + 196) / 4    =",
    4 * 320 + 2 * 49 + 2 * (320 + 196) / 4,
)
assert per_token(14, 14, 320, 7, 2) == (1352, 1636)

sides = range(14, 113, 14)

# %% [fold: Code of this figure]
fig, ax = plt.subplots(figsize=(6.5, 3.9), layout="constrained")
fig.set_label(
    "Plain attention's cost over H-MHSA's, against the map's side: below one on small maps, then "
    "rising."
)
for C, G2, marker, shade in (
    (64, 7, "o", BLUE),
    (128, 7, "s", GREEN),
    (320, 7, "^", ORANGE),
    (320, 2, "v", "black"),
):
    ratios = [np.divide(*per_token(side, side, C, 7, G2)) for side in sides]
    ax.loglog(sides, ratios, marker=marker, color=shade, label=f"C = {C}, $G_2$ = {G2}")
ax.axhline(1, color="0.4", linestyle=":")
ax.annotate(
    "0.83: stages.2 at 224", (14, 0.826), (20, 0.65), arrowprops={"arrowstyle": "->"}, va="center"
)
ax.set(
    title="Plain / H-MHSA, Eq. 5 / Eq. 15, $G_1$ = 7",
    xlabel="side of the map, tokens",
    ylabel="times cheaper",
)
ax.set_xticks(sides, sides)
ax.set_yticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 5. The whole network, and the paper's 4.3 G
#
# ??? question "Predict: which part of HAT-Net Small costs most: stem, attention matrices, attention products, or MLP?"
#     The MLP. It widens the $C$ channels to $E C$ and back, which takes $2 E C^2$ per token, and $E$ is 8 or 4. The
#     attention matrices take about $5 C^2$.

# %%
PAPER = {"tiny": 2.0, "small": 4.3, "medium": 8.3, "large": 11.5}  # G, Table 1 and 2
totals = {}
print("            matrices   attention products        all MACs        FLOPs    paper prints")
for variant, printed in PAPER.items():
    cost = totals[variant] = total(network_costs(hatnet.get_config(variant), 224, 224))
    print(
        f"{variant:6} {cost.projection_macs:14,} {cost.attention_macs:20,} {cost.total_macs:15,}"
        f" {2 * cost.total_macs / 1e9:10.1f} G {printed:13} G"
    )

with torch.device("meta"):  # shapes without numbers: nothing is computed, everything is counted
    small = hatnet.create_model("small").eval()
    assert counted(small, 3, 224, 224) == totals["small"].total_macs
terms = totals["small"].macs
mlp = sum(terms[name] for name in ("expand", "depthwise", "contract"))
share = totals["small"].attention_macs / totals["small"].total_macs
print(f"of Small: MLP {mlp / sum(terms.values()):.1%}, attention products {share:.1%}")

# %% [markdown]
# The paper's figures are the *first* column: MACs, called FLOPs, **without the attention products**. (Large has 11.44
# and is printed as 11.5; exercise 4 finds out why.) The part that the paper is about is missing from its own column! At
# 224 x 224 that matters little, because H-MHSA makes this part small: 6 per cent. With plain attention everywhere it
# would be 45 per cent, and at 800 x 1280 nearly everything:


# %% [fold: Code of the comparison]
def with_plain_attention(config: hatnet.HATNetConfig, *size: int) -> Cost:
    """The cost of a network with plain attention in every block."""
    return total(
        replace(part, cost=mhsa_cost(*part.layout.map, config.stages[part.stage].channels))
        if part.name.endswith("attention")
        else part
        for part in network_costs(config, *size)
    )


for config, size in ((SMALL, (224, 224)), (DENSE, (800, 1280))):
    for name, cost in (
        ("plain", with_plain_attention(config, *size)),
        ("H-MHSA", total(network_costs(config, *size))),
    ):
        products = cost.attention_macs / cost.total_macs
        print(
            f"Small, {size[0]} x {size[1]}, {name:6} {cost.total_macs / 1e9:7.1f} G, attention "
            f"products {products:.1%}"
        )

# %% [markdown]
# ## 6. Choosing $G_1$ and $G_2$: a valley appears only under a condition
#
# ??? question "Predict: Eq. 15 for 56 x 56 tokens and $C = 64$. Which $G_1$ and $G_2$ make it smallest?"
#     $G_1 = 1$ and $G_2 = 56$! The formula always falls with $G_2$ and always rises with $G_1$. By cost alone there
#     would be hardly any attention left. The reason against that is accuracy, which no formula here contains.
#
# So set a condition: a cell must be no larger than a window, $G_2 \le G_1$. A merged token then represents tokens that
# have attended to each other. The cheapest such pair has $G_1 = G_2 = G$. Setting the derivative of
# $2 G^2 + 2 (C + HW) / G^2$ to zero gives
#
# $$G = \sqrt[4]{C + HW}$$

# %% [fold: Code of this figure]
published = {(56, 64): (8, 8), (28, 128): (7, 4), (14, 320): (7, 2)}
Gs = np.linspace(2, 14, 100)

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
fig.set_label(
    "Cost along G1 = G2 has a valley in each stage; the paper's 8, 8 lies in it, its 7, 4 and 7, "
    "2 above it."
)
for ((side, C), (G1, G2)), shade, marker in zip(
    published.items(), (BLUE, GREEN, ORANGE), "os^", strict=True
):
    best = (C + side**2) ** 0.25
    ax.plot(
        Gs,
        4 * C + 2 * Gs**2 + 2 * (C + side**2) / Gs**2,
        color=shade,
        label=f"{side} x {side}, C = {C}: valley at {best:.1f}",
    )
    place = (G1 * G2) ** 0.5, per_token(side, side, C, G1, G2)[1]
    ax.plot(*place, marker, color=shade, markeredgecolor="black")
    ax.annotate(f"paper: {G1}, {G2}", place, (6, 6), textcoords="offset points", fontsize=9)
ax.set_yscale("log")
ax.set_yticks([300, 500, 1000, 2000], ["300", "500", "1000", "2000"])
ax.minorticks_off()
ax.set(
    title="Eq. 15 along $G_1 = G_2 = G$, and the paper's choices",
    ylabel="MACs per token and channel",
)
ax.set_xlabel("$G$, for the paper's $\\sqrt{G_1 G_2}$, tokens")
ax.legend(fontsize=8, frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# The paper's 8 and 8 lie in the valley. In the other stages its cells are finer than the cheapest ones, and cost a
# little more. (For large images the paper drops the condition: 8 and 16 in the first stage.) The page on
# [measured cost](../scaling.md) shows all pairs, and their effect on accuracy.
#
# The far products keep their $(HW)^2$. **H-MHSA is still quadratic**, with a factor of $1/G_2^2$: twice the side makes
# them cost 16 times as much, unless $G_2$ grows too. The paper doubles $G_2$ for large images.

# %%
print("stages.0, MACs     G2 = 8     G2 grows with the side         plain")
for scale in (1, 2, 4, 8, 16):
    side = 56 * scale
    costs = (
        h_mhsa_cost(side, side, 64, 8, 8),
        h_mhsa_cost(side, side, 64, 8, 8 * scale),
        mhsa_cost(side, side, 64),
    )
    print(
        f"{side:4} x {side:<4} " + " ".join(f"{cost.total_macs / 1e6:14,.0f} M" for cost in costs)
    )

# %% [markdown]
# So prediction 2 has no single answer: 6 times from the first row to the second, 15 times from the fourth to the fifth,
# and 4 times if $G_2$ grows with the map.
#
# ## 7. Memory
#
# The weights of plain attention are $(HW)^2$ numbers per head. H-MHSA has far fewer, and that is the paper's claim. But
# a fused kernel stores no weights at all. Only maps of $HW C$ numbers remain: in inference those that are in use at the
# same time, in training all that the backward pass needs.
#
# ??? question "Predict: with fused kernels, which keeps more maps for the backward pass, plain attention or H-MHSA?"
#     H-MHSA. It has two sets of queries, keys and values, it cuts windows and puts them back, and it has three norms.

# %%
print("Small, stages.0,                 weights stored, MB         maps, whole network, MB")
print("one image, float32              plain       H-MHSA        in inference   in training")
for config, size in ((SMALL, (224, 224)), (SMALL, (448, 448)), (DENSE, (800, 1280))):
    stage, (H, W) = config.stages[0], config.layout(*size)[0].map
    costs = mhsa_cost(H, W, 64), h_mhsa_cost(H, W, 64, stage.grid_size, stage.pool_size)
    weights = [4e-6 * attention_weights(cost, C=64, heads=1) for cost in costs]
    maps = [4e-6 * count(config, *size) for count in (inference_memory, training_memory)]
    print(
        f"{size[0]:5} x {size[1]:<5} {weights[0]:22,.1f} {weights[1]:12,.1f} {maps[0]:18,.0f} "
        f"{maps[1]:13,.0f}"
    )

parts = training_memory_by_part(SMALL, 224, 224)
for name, size in (
    ("stages.0.blocks.0.attention", 56**2 * 64),
    ("stages.0.blocks.0.mlp", 56**2 * 64),
    ("stages.3.blocks.0.attention", 7**2 * 512),
):
    print(f"{name} keeps {parts[name] / size:.1f} maps")

# %% [markdown]
# H-MHSA keeps 13 maps, plain attention in `stages.3` keeps 7, and the MLP, with $E = 8$ times the channels, keeps 37.
# With fused kernels H-MHSA saves time, not memory.
#
# ## 8. Time
#
# MACs are not seconds. Here both modules take turns on one core, with $C = 64$ and $G_1 = G_2 = 8$. The second plot
# shows a longer measurement from our records, if there is one, with its machine and date.


# %% [fold: Code of the measurement and its figure]
CLOCKS = {"cpu": "processor time", "wall": "time"}  # the first leaves out waiting for others


def draw_times(ax: plt.Axes, record: Record, title: str) -> None:
    """Draw medians as points, and the MACs of the formula as a line, shifted to their middle."""
    for name, label, shade, marker in (
        ("mhsa", "plain", GREEN, "o"),
        ("h-mhsa", "H-MHSA", BLUE, "s"),
    ):
        points = record.timed(name)
        N, milliseconds = [p.tokens for p in points], [1000 * p.quartiles.median for p in points]
        ax.loglog(
            N,
            [1000 * p.macs / record.rate(name) for p in points],
            color=shade,
            linewidth=6,
            alpha=0.25,
        )
        ax.loglog(
            N,
            milliseconds,
            marker,
            color=shade,
            label=f"{label}: $N^{{{record.exponent(name).value:.2f}}}$",
        )
    ax.set(
        title=title,
        xlabel="tokens N",
        ylabel=f"{CLOCKS[record.settings.clock]} per call, ms, median",
    )
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False)


def kept() -> Record | None:
    """The first kept measurement that has both modules."""
    for path in sorted(Path("docs/measurements").glob("*.json")):
        with suppress(ValueError):  # records of other studies are kept there too
            record = read(path)
            if record.timed("mhsa") and record.timed("h-mhsa"):
                return record
    return None


quick = measure(
    Settings(modules=("mhsa", "h-mhsa"), sizes=(64, 128, 224, 320), rounds=3, clock="cpu")
)
shown = {"measured now, 1 core": quick}
if (long := kept()) is not None:
    shown[
        f"kept: {long.machine.get('gpu', long.machine['cpu'])}\n{long.date[:10]}, batch "
        f"{long.settings.batch}"
    ] = long

fig, axes = plt.subplots(
    1, len(shown), figsize=(5 * len(shown), 3.9), layout="constrained", squeeze=False
)
fig.set_label(
    "Time against tokens on log axes, points near the formula's lines: plain attention rises "
    "more steeply."
)
for ax, (title, record) in zip(axes[0], shown.items(), strict=True):
    draw_times(ax, record, title)
plt.show()

# %% [markdown]
# The pale lines are the formulas, each shifted up or down as a whole, because a formula gives no seconds. The exponents
# are fitted to the points and hold only for these sizes. Neither time nor formula is a pure power: plain attention goes
# from $N^1$, where matrices dominate, to $N^2$. Where points leave their line, the time is spent elsewhere: in norms,
# pooling, copies for windows, and the fixed cost of a call. The page on [measured cost](../scaling.md) has more modules
# and more sizes.
#
# ## 9. Accuracy for the cost: the paper's Table 2
#
# The figure shows accuracy on ImageNet against the "FLOPs" as printed, from `docs/data/table2.json`. A red line leads
# from each HAT-Net to its cost with attention products. We have trained none of these networks; the numbers are the
# paper's.

# %% [fold: Code of this figure]
table = json.loads(Path("docs/data/table2.json").read_text(encoding="utf-8"))["rows"]
FAMILIES = {
    "HAT-Net": ("o", ORANGE),
    "PVTv2": ("s", BLUE),
    "PVT-": ("v", SKY),
    "Swin": ("^", GREEN),
    "Twins": ("D", "#CC79A7"),
    "ResNet": ("x", GREY),
}

fig, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
fig.set_label(
    "Top-1 accuracy against printed FLOPs: HAT-Net leads, Twins-SVT-S lies near its line, PVTv2 "
    "up to a point below."
)
drawn = [row for row in table if row["flops_billions"] < 20 and not row["starred"]]
for family, (marker, shade) in FAMILIES.items():
    rows = sorted(
        (row["flops_billions"], row["top1_percent"])
        for row in drawn
        if row["model"].startswith(family)
    )
    style = {"linewidth": 1, "linestyle": "-", "zorder": 3 if family == "HAT-Net" else 2}
    ax.semilogx(
        *zip(*rows, strict=True), marker=marker, color=shade, label=family.rstrip("-"), **style
    )
rest = [row for row in drawn if not row["model"].startswith(tuple(FAMILIES))]
for number, row in enumerate(rest):
    label = None if number else "others"
    ax.plot(row["flops_billions"], row["top1_percent"], ".", color="0.7", label=label)
for variant, cost in totals.items():
    row = next(row for row in table if row["model"] == f"HAT-Net-{variant.title()}")
    ax.plot(
        [row["flops_billions"], cost.total_macs / 1e9],
        [row["top1_percent"]] * 2,
        color="#B00000",
        linewidth=3,
    )
    ax.text(
        row["flops_billions"], row["top1_percent"] + 0.35, variant.title(), ha="center", fontsize=9
    )
ax.set(
    title="Table 2 of the paper, 224 x 224, below 20 G",
    xlabel='"FLOPs" as printed, billions (for HAT-Net: MACs)',
    ylabel="ImageNet top-1, per cent",
    ylim=(67, 86),
)
ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
ax.minorticks_off()
ax.legend(loc="lower right", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# With attention products HAT-Net moves right by 6 to 8 per cent. Its place in the picture stays the same: ahead of
# PVTv2 by 0.6 to 1.1 points. Tiny and Small then cost about the same as PVTv2, Medium and Large more. Only Twins-SVT-S
# lies above HAT-Net's line. Read the picture with care: we do not know what the others counted, training recipes
# differ, and the top-1 accuracy of one run is noisy. Seconds, which this table lacks, need not follow MACs.
#
# ## Exercises
#
# **1. The break-even point.** For how many tokens do the matrices of plain attention cost as much as its products?
# Compute it for $C = 64$ and $C = 512$, with $W^p$. What follows for the last stage, 7 x 7 with $C = 512$?

# %% solution
assert all(
    mhsa_cost(1, 2 * C, C).projection_macs == mhsa_cost(1, 2 * C, C).attention_macs
    for C in (64, 512)
)  # N = 2 C
last = mhsa_cost(7, 7, 512)
assert (
    last.attention_macs / last.total_macs < 0.05
)  # 49 tokens are far below 1024: matrices are nearly everything

# %% [markdown]
# **2. A cheaper network.** Replace H-MHSA in `stages.2` of Small by plain attention, at 224 x 224. How many MACs does
# that save, and what share of the network is it? From which square image size on, in steps of 32 pixels, does it cost
# more?


# %% solution
def saved(size: int) -> int:
    """The MACs saved by plain attention in stages.2 of Small."""
    parts = [
        p
        for p in network_costs(SMALL, size, size)
        if p.name.startswith("stages.2") and p.name.endswith("attention")
    ]
    return sum(p.cost.total_macs - mhsa_cost(*p.layout.map, 320).total_macs for p in parts)


print(f"{saved(224):,} MACs, {saved(224) / totals['small'].total_macs:.1%}")
assert saved(224) == 8 * (122_680_320 - 104_867_840)
assert next(size for size in range(224, 640, 32) if saved(size) < 0) == 320

# %% [markdown]
# **3. A large image.** Which $G_1 = G_2$ is cheapest for `stages.0` of Small at 800 x 1280 pixels, including partial
# windows and cells? How far is $\sqrt[4]{C + HW}$, rounded, from it? Why is the paper's pair, 8 and 16, cheaper still?

# %% solution
H, W = SMALL.layout(800, 1280)[0].map
costs = {G: h_mhsa_cost(H, W, 64, G, G).total_macs for G in range(1, 41)}
cheapest, root = min(costs, key=costs.get), round((64 + H * W) ** 0.25)
print(
    f"{H} x {W}: G = {cheapest}, root {root}, which costs "
    f"{costs[root] / costs[cheapest] - 1:.2%} more"
)
assert (cheapest, root) == (17, 16)
assert costs[root] < 1.001 * costs[cheapest]  # a flat valley
assert (
    h_mhsa_cost(H, W, 64, 8, 16).total_macs < costs[cheapest]
)  # its cells are coarser than its windows

# %% [markdown]
# **4. From 11.44 to 11.5.** Some counters add one operation for each bias that is added and two for each number that is
# normalised. Does that explain the paper's figure for Large, and does it fit the other three?


# %% solution
def small_change(variant: str) -> int:
    """Biases added, and twice the numbers normalised, at 224 x 224."""
    seen = []
    with torch.device("meta"):
        model = hatnet.create_model(variant).eval()
        for module in model.modules():
            if isinstance(module, hatnet.layers.GroupNorm):
                module.register_forward_hook(lambda module, x, y: seen.append(2 * y.numel()))
            elif getattr(module, "bias", None) is not None:
                module.register_forward_hook(lambda module, x, y: seen.append(y.numel()))
        model(torch.zeros(1, 3, 224, 224))
    return sum(seen)


for variant, printed in PAPER.items():
    count = (totals[variant].projection_macs + small_change(variant)) / 1e9
    print(f"{variant}: {count:.2f} G")
    assert round(count, 1) == printed  # all four

# %% [markdown]
# ## The claims, checked once more

# %% [fold: The checks]
assert sum(macs.values()) < sum(plain_macs.values())  # the first figure
assert 0.05 < share < 0.06  # prediction 1: 6 per cent, and not in the 4.3 G
growth = h_mhsa_cost(112, 112, 64, 8, 8).total_macs / h_mhsa_cost(56, 56, 64, 8, 8).total_macs
assert 6 < growth < 6.5  # prediction 2, at first
assert (
    h_mhsa_cost(896, 896, 64, 8, 8).total_macs > 15 * h_mhsa_cost(448, 448, 64, 8, 8).total_macs
)  # and in the end
assert round(equation_5(14, 14, 320) / equation_15(14, 14, 320, 7, 2), 2) == 0.83
assert all(
    round(totals[name].projection_macs / 1e9, 1) == PAPER[name]
    for name in ("tiny", "small", "medium")
)
assert 11.4 < totals["large"].projection_macs / 1e9 < 11.5
by_pair = {
    (G1, G2): h_mhsa_cost(56, 56, 64, G1, G2).total_macs
    for G1 in range(1, 57)
    for G2 in range(1, 57)
}
assert min(by_pair, key=by_pair.get) == (1, 56)
assert min((pair for pair in by_pair if pair[1] <= pair[0]), key=by_pair.get) == (8, 8)
assert parts["stages.0.blocks.0.attention"] / (56**2 * 64) > 1.8 * parts[
    "stages.3.blocks.0.attention"
] / (7**2 * 512)
print("all checks passed")

# %% [markdown]
# ## What to remember
#
# - There are two kinds of work: matrices, $HW C^2$ each, and attention products, tokens times keys times $C$. H-MHSA
#   replaces the second kind by the first.
# - So it pays off where $HW$ is large compared with $C$, and costs more where it is small: the ratio is 13 at 56 x 56
#   and 0.83 at 14 x 14.
# - It is still quadratic, divided by $G_2^2$; if $G_2$ grows with the map it is linear.
# - Fewer weights mean less memory only where weights are stored. Fused kernels store none.
# - The paper's 2.0 / 4.3 / 8.3 / 11.5 G are MACs without attention products. Always ask what was counted.
