# %% [markdown]
# # Hierarchical attention
#
# **The question.** In tutorial 1, $N$ tokens had $N^2$ weights, and a map with sides twice as long had sixteen times as
# many. Can each token see the whole picture for less? **The idea:** attend twice. The blue token below looks at the
# tokens of its own window, *near and fine*, and at the means of a few large cells, *far and coarse*.

# %% [fold: Imports]
"""Tutorial 2: windows, merged tokens, Eq. 6-15, the fast module, and a test that finds a bug."""

import itertools
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.colors import LogNorm
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import hatnet
import hatnet.hierarchical_attention as module
import reference
from hatnet.data.photo import load_photo, normalise
from hatnet.equivalence import TOLERANCES, randomise, relative_error

np.set_printoptions(precision=2, suppress=True, linewidth=110)
BLUE, ORANGE = "#0072B2", "#D55E00"  # easy to distinguish with colour blindness
LIMIT = TOLERANCES[torch.float64]  # 1e-13: largest relative difference allowed in float64

# %% [fold: Code of this figure]
H, W, C, heads, G1, G2 = 28, 28, 12, 2, 7, 4
QUERY, FAR = (9, 17), (24, 3)  # two tokens, (row, column), in different windows
photo = load_photo()
colours = photo.reshape(3, 28, 8, 28, 8).mean(axis=(2, 4)).transpose(1, 2, 0)  # of the tokens


def frame(axes, row, column, side, colour):
    """Draw a square around tokens, with a white edge."""
    for edge, width in (("white", 4), (colour, 2)):
        style = {"fill": False, "edgecolor": edge, "linewidth": width}
        axes.add_patch(plt.Rectangle((column, row), side, side, **style))


def draw(axes, picture, title, step=None, marks=(), **options):
    """Draw a map of 28 x 28 tokens, a line every `step` tokens, and boxes around tokens."""
    image = axes.imshow(picture, extent=(0, W, H, 0), interpolation="nearest", **options)
    for at in range(step, W, step) if step else ():
        axes.axvline(at, color="white", linewidth=1)
        axes.axhline(at, color="white", linewidth=1)
    for (row, column), colour in marks:
        frame(axes, row, column, 1, colour)
    axes.set(title=title, xlabel="column, in tokens", ylabel="row, in tokens")
    axes.set(xticks=range(0, 29, 7), yticks=range(0, 29, 7))
    return image


def cells_of(G2):
    """The mean colour of each cell, repeated to the size of the map."""
    merged = reference.average_pool(colours, G2)
    return merged.repeat(G2, axis=0).repeat(G2, axis=1)[:H, :W]


figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
figure.set_label(
    "Three pictures of a cat. The first is cut into 28 x 28 coarse tokens; a blue and an orange "
    "one are marked. In the second, the window of 7 x 7 tokens around the blue token is framed. "
    "The third consists of 7 x 7 large cells of one colour each."
)
coarse = photo.reshape(3, 56, 4, 56, 4).mean(axis=(2, 4)).transpose(1, 2, 0)
draw(left, coarse, "28 x 28 tokens", marks=[(QUERY, BLUE), (FAR, ORANGE)])
draw(middle, photo.transpose(1, 2, 0), "near: 49 tokens of its window", G1, [(QUERY, BLUE)])
frame(middle, QUERY[0] // G1 * G1, QUERY[1] // G1 * G1, G1, BLUE)
draw(right, cells_of(G2), "far: 49 cells of the whole map", G2, [(QUERY, BLUE)])
plt.show()

# %% [markdown]
# The first look is the **local step**, the second the **global step**. The
# [paper](https://doi.org/10.1007/s11633-024-1393-8) calls them together hierarchical multi-head self-attention, H-MHSA.
# This tutorial goes through Eq. 6-15 with `reference/hierarchical_attention.py` and explains the fast module
# `hatnet.HMHSA`. At the end you break that module on purpose and watch a test find the bug. You need to know softmax,
# $Q$, $K$, $V$ and heads from tutorial 1. Tags such as D2 mark places where the paper, its authors' code and our code
# differ; the page "Paper versus code" lists them.
#
# ## Tokens
#
# The photo has 224 x 224 pixels. We cut it into 28 x 28 patches of 8 x 8 pixels and shrink each patch to 2 x 2 colours.
# These are 12 numbers, so $C = 12$. (HAT-Net makes its tokens with the two convolutions of its stem instead.) The sizes
# are those of `stages.1` of the network: $H = W = 28$, windows of $G_1 = 7$, and cells of $G_2 = 4$.
#
# **The weights are random**, so *which* tokens attend to each other means nothing here. We study which tokens *can*
# reach each other. This follows from the equations and is the same for any weights.


# %%
def tokens(pixels):
    """(3, 224, 224) -> (28, 28, 12): each patch of 8 x 8 pixels becomes 2 x 2 mean colours."""
    quarters = pixels.reshape(3, 28, 2, 4, 28, 2, 4).mean(axis=(3, 6))  # (3, 28, 2, 28, 2)
    return quarters.transpose(1, 3, 2, 4, 0).reshape(28, 28, 12)


X = tokens(normalise(photo))
hmhsa = hatnet.HMHSA(C, heads, G1, G2).double()  # for now we only use its parameters
randomise(hmhsa, seed=0)
params = hatnet.to_numpy(hmhsa)
for name, value in params.items():
    print(f"{name:29s} {value.shape}")

# %% [markdown]
# We follow the query of the blue token. The orange token is far away, in another window.
#
# ??? question "Predict: how many keys does one query have in its window, and how many in the global step?"
#     A window contains $7 \times 7 = 49$ tokens. Cells of $4 \times 4$ tokens give $28/4 \times 28/4 = 49$ merged
#     tokens. Together these are 98 keys instead of 784. The two numbers are equal by coincidence.
#
# ## Eq. 6 and 8: cut into windows, and put back
#
# Eq. 6 turns the map of $H \times W$ tokens into windows of $G_1 \times G_1$ tokens. Eq. 8 is the inverse. In the
# paper, both are reshapes. The reference uses slices instead: `windows` yields the slices of each window. Here is an
# example with $G_1 = 2$ and a map of 4 x 6 tokens, which are just numbers.


# %%
def cut_and_put_back(numbers, g):
    """Print a map and its windows, and check that putting them back gives the map."""
    back = np.zeros_like(numbers)
    print(numbers)
    for row, column, window in reference.windows(*numbers.shape, g):
        print(
            f"window ({row}, {column}):",
            numbers[window].tolist(),
            "-> tokens",
            numbers[window].ravel(),
        )  # Eq. 6
        back[window] = numbers[window]  # Eq. 8
    assert np.array_equal(back, numbers)


toy = np.arange(1, 25).reshape(4, 6)
cut_and_put_back(toy, g=2)

# %% [markdown]
# Tokens 2 and 3 are neighbours on the map, but they are in different windows. Tokens 2 and 7 touch only at a corner,
# but they are in the same window.
#
# **Sizes that are not multiples of $G_1$ (D6).** The paper writes $H/G_1$ as if it were an integer. If it is not, the
# authors' code stops with an error. Our windows start at the top left, and the last ones may be smaller. Here is a map
# of 3 x 5 tokens:

# %%
odd = np.arange(1, 16).reshape(3, 5)
cut_and_put_back(odd, g=2)

# %% [markdown]
# The window in the corner contains only one token. It attends to itself with weight 1.
#
# ## Eq. 7: attention inside each window
#
# $$Q_1, K_1, V_1 = X_1 W_1^q,\; X_1 W_1^k,\; X_1 W_1^v$$
#
# $$A_1 = \operatorname{Softmax}(Q_1 K_1^T / \sqrt{d})\, V_1$$
#
# This is the attention of tutorial 1, applied to each window, with the same matrices for all windows. $X_1$ contains
# the tokens of one window, and the index 1 marks the local step. The first example has one channel, so that you can
# check it by hand. Let $W_1^q = W_1^k = 0$ and $W_1^v = 1$. Then all scores are 0, all weights are equal, and each
# token becomes the mean of its window.
#
# ??? question "Predict: what do tokens 1, 2, 7, 8 of the 4 x 6 map become? And token 15, the corner of the 3 x 5 map?"
#     All four become $(1 + 2 + 7 + 8) / 4 = 4.5$. Token 15 is alone in its window and stays 15. If the window were
#     filled up with zeros as extra tokens, the result would be $15/4$. This will matter for the fast version.

# %%
rows_qkv = np.array([[0.0], [0.0], [1.0]])  # q, k, v
averaging = {"local_attention.qkv.weight": rows_qkv, "local_attention.qkv.bias": np.zeros(3)}
print(reference.local_attention(toy[:, :, None] * 1.0, averaging, heads=1, G1=2)[:, :, 0])
print(reference.local_attention(odd[:, :, None] * 1.0, averaging, heads=1, G1=2)[:, :, 0])

# %% [markdown]
# Now we use the photo, and look for the limit of this step. We repaint one pixel inside the orange token and see which
# results change.

# %%
repainted = np.array(photo)  # same memory order, so sums are rounded in the same way
repainted[:, 8 * FAR[0] + 3, 8 * FAR[1] + 3] = 1  # one white pixel
X_far = tokens(normalise(repainted))

near = reference.local_attention(X, params, heads, G1)
moved = np.linalg.norm(
    reference.local_attention(X_far, params, heads, G1) - near, axis=-1
)  # (H, W)
print(f"the orange token moved by {moved[FAR]:.3f}, the blue one by {moved[QUERY]}")
print(f"tokens that moved: {np.count_nonzero(moved)} of {moved.size}, one window")
assert moved[QUERY] == 0
assert np.count_nonzero(moved) == G1 * G1

# %% [markdown]
# The blue token changes by exactly 0, not just by a small number: no term of its sum depends on that pixel. More steps
# of this kind would not help, because the borders of the windows stay in the same places. (For this reason Swin,
# another transformer with windows, shifts them from layer to layer.)
#
# ## Eq. 9: add the map, and normalise (D2)
#
# The paper adds the input, $A_1 \leftarrow A_1 + X$: a residual, as in tutorial 1. It does not mention a normalisation,
# but the authors' code has three. The first comes before the local step. The second comes right after this sum (D2),
# and the $X$ in the sum is the input *before* the first normalisation. The third is applied to the merged tokens (D3).
# Each is a group norm with one group (D1): *one* mean and *one* variance for the whole map.
#
# ??? question "Predict: with the norms in place, does the orange pixel still change the blue token by exactly 0?"
#     No. The pixel changes the mean and the variance, and these affect every token. So the norms do connect all tokens,
#     but only by two numbers for the whole map, which do not show where the change is or what it is.


# %%
def local_step(x):
    """Eq. 6-9 as in the reference, with both norms."""
    normed = reference.group_norm(x, **reference.within(params, "norm"))  # D1
    A1 = reference.local_attention(normed, params, heads, G1)  # Eq. 6-8
    return reference.group_norm(A1 + x, **reference.within(params, "local_norm"))  # Eq. 9, D2


A1 = local_step(X)
moved = np.linalg.norm(local_step(X_far) - A1, axis=-1)
print(f"with norms: the orange token moved by {moved[FAR]:.3f}, the blue one by {moved[QUERY]:.6f}")

# %% [markdown]
# ## Eq. 10: merge
#
# $\hat A_1 = \operatorname{AvePool}_{G_2}(A_1)$: the mean of each cell of $G_2 \times G_2$ tokens is one merged token.
# The network averages $A_1$. To make it visible, we average the colours of the photo with the same function. With
# $G_2 = 5$, the last cells in each direction are only $28 - 5 \cdot 5 = 3$ tokens wide. We average these tokens (D6);
# the authors' code ignores them.

# %% [fold: Code of this figure]
figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
figure.set_label(
    "The cat as 7 x 7 mean colours of cells of 4 x 4 tokens, and as 6 x 6 mean colours of cells "
    "of 5 x 5 tokens, where the cells of the last row and column are narrower."
)
for ax, cell in zip(axes, (4, 5), strict=True):
    side = -(-28 // cell)  # rounded up
    draw(ax, cells_of(cell), f"$G_2$ = {cell}: {side} x {side} merged tokens", cell)
plt.show()

# %%
print("the 3 x 5 map, one number per cell:")
print(reference.average_pool(odd[:, :, None] * 1.0, G2=2)[:, :, 0])
merged = reference.merge(A1, params, G2)  # (7, 7, 12), normalised; Eq. 10, D3
corner = reference.average_pool(A1, 5)[-1, -1]
assert np.allclose(corner, A1[25:, 25:].mean(axis=(0, 1)))  # 3 x 3 tokens, not 5 x 5

# %% [markdown]
# ## Eq. 11-13: every token attends to all merged tokens
#
# $$Q_2 = A_1 W_2^q \qquad K_2, V_2 = \hat A_1 W_2^k,\; \hat A_1 W_2^v$$
#
# $$A_2 = \operatorname{Softmax}(Q_2 K_2^T / \sqrt{d})\, V_2$$
#
# The index 2 marks the global step. There is still one query per token. Only the keys and values are merged, so the
# result is a full map again.

# %%
trace = {}
A2 = reference.global_attention(A1, merged, params, heads, trace)
print("A2", A2.shape, " weights (heads, queries, keys)", trace["global_weights"].shape)
assert trace["global_weights"].shape == (2, 784, 49)

# %% [markdown]
# ## Eq. 14: near and far together
#
# $$\text{H-MHSA}(X) = (A_1 + A_2)\, W^p + X$$
#
# $A_1$ and $A_2$ are added without weights and multiplied by one matrix. The block around this layer adds the last
# $+ X$. Our steps together give the same result as `reference.h_mhsa`:

# %%
output = reference.aggregate(A1, A2, params)
whole = reference.h_mhsa(X, params, heads, G1, G2)
print(
    f"output {output.shape}, and h_mhsa gives the same, up to {relative_error(whole, output):.0e}"
)
assert relative_error(whole, output) < LIMIT

# %% [markdown]
# ## Which tokens reach the blue token?
#
# First we use the repainted pixel again. Then we change each of the 784 tokens in turn, and measure how much the result
# of the blue token changes. We leave out the norms to see the effect of attention alone. Grey means exactly 0. The
# colour scale is logarithmic.


# %% [fold: Code of the experiment]
def attention_alone(x):
    """Return the results of the local step and of the whole H-MHSA, without norms."""
    A1 = reference.local_attention(x, params, heads, G1) + x  # Eq. 6-9
    A2 = reference.global_attention(A1, reference.average_pool(A1, G2), params, heads)  # Eq. 10-13
    return A1, reference.aggregate(A1, A2, params) + x  # Eq. 14


base = attention_alone(X)
steps = ("local step alone", "local and global step")
for step, after, before in zip(steps, attention_alone(X_far), base, strict=True):
    print(
        f"{step}: the pixel moves the blue token by {np.linalg.norm((after - before)[QUERY]):.1e}"
    )

influence = np.zeros((2, H, W))
for row, column in itertools.product(range(H), range(W)):
    changed = X.copy()
    changed[row, column] += 1
    for step, (after, before) in enumerate(zip(attention_alone(changed), base, strict=True)):
        influence[step, row, column] = np.linalg.norm((after - before)[QUERY])

# %% [fold: Code of this figure]
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
figure.set_label(
    "Two maps that show how much each token influences the blue token. After the local step, "
    "only the 7 x 7 tokens of "
    "its window do; all others are grey, exactly zero. After the whole H-MHSA every token does, "
    "and those of the "
    "window still most. An eye and the nose of the cat are visible."
)
for ax, seen, title in zip(axes, influence, steps, strict=True):
    limits = LogNorm(influence[1].min(), influence[1].max())
    bitmap = draw(
        ax, np.ma.masked_equal(seen, 0), title, marks=[(QUERY, BLUE)], norm=limits, cmap="viridis"
    )
    ax.set_facecolor("lightgrey")
figure.colorbar(bitmap, ax=axes, label="how far the blue token moves")
plt.show()
print("tokens that reach the blue one:", np.count_nonzero(influence, axis=(1, 2)))
assert np.array_equal(np.count_nonzero(influence, axis=(1, 2)), [49, 784])

# %% [markdown]
# So the answer to the question is yes: one layer is enough. The influence of a far token is small, because it is only
# one of the sixteen tokens of its cell. And the blue token gets only the mean of the cell, so it cannot distinguish the
# tokens inside. Then why does the right map not consist of uniform 4 x 4 squares? Because a far token is also a key in
# its own window (Eq. 7). There it changes its neighbours, and how much depends on its content. All cells that overlap
# the window pass the change on.
#
# ## Eq. 15: the cost
#
# We count multiplications, each together with its addition. Plain attention has three projections and two products with
# $HW \times HW$ weights. H-MHSA has four projections of all tokens, two projections of the merged tokens, and two
# products in each of its two steps:
#
# $$\Omega(\text{MHSA}) = 3 HW C^2 + 2 (HW)^2 C \qquad\text{(5)}$$
#
# $$\begin{aligned}
# \Omega(\text{H-MHSA}) =\; &HWC\,(4C + 2 G_1^2) \\
# &+ 2\,\frac{HW}{G_2^2}\, C\,(C + HW) \qquad\text{(15)}
# \end{aligned}$$
#
# Neither formula includes the output projection $W^p$. PyTorch can count the multiplications of a layer while it runs.
# (The MATH backend is counted on every device.) We subtract $W^p$ and compare both formulas with these counts, for the
# sizes of HAT-Net-Tiny and, in the last row, of Small.


# %% [fold: Code of the table]
def eq5(H, W, C):
    """Multiplications of plain attention."""
    return 3 * H * W * C**2 + 2 * (H * W) ** 2 * C


def eq15(H, W, C, G1, G2):
    """Multiplications of H-MHSA, where G1 and G2 divide the map."""
    merged = H * W // G2**2
    return H * W * C * (4 * C + 2 * G1**2) + 2 * merged * C * (C + H * W)


def counted(layer, H, W, C):
    """Multiplications that PyTorch counts, without W^p."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        layer(torch.zeros(1, H, W, C))
    return counter.get_total_flops() // 2 - H * W * C**2


print(
    " map        C  G1  G2 | plain, Eq. 5  H-MHSA, Eq. 15  plain/H-MHSA | weights a head: plain  "
    "H-MHSA"
)
for side, channels, d, g1, g2 in [
    (56, 48, 48, 8, 8),
    (28, 96, 48, 7, 4),
    (14, 240, 48, 7, 2),
    (14, 320, 64, 7, 2),
]:
    size = (side, side, channels)
    assert counted(hatnet.MHSA(channels, channels // d), *size) == eq5(*size)
    assert counted(hatnet.HMHSA(channels, channels // d, g1, g2), *size) == eq15(*size, g1, g2)
    N, ratio = side * side, eq5(*size) / eq15(*size, g1, g2)
    print(
        f"{side:3d} x {side:<3d} {channels:4d}  {g1:2d}  {g2:2d} | {eq5(*size):12,d}  "
        f"{eq15(*size, g1, g2):14,d}"
        f"  {ratio:12.2f} | {N * N:21,d} {N * (g1**2 + N // g2**2):7,d}"
    )

# %% [markdown]
# On the large map, H-MHSA is far cheaper. On 14 x 14 tokens with 320 channels, it costs **more**: the ratio is below 1.
# There are only 196 tokens, so $(HW)^2$ is small, and the projections dominate: H-MHSA has four and a half projections
# of the full map, and plain attention has three. H-MHSA still has only half as many attention weights. The paper
# compares how the costs grow, and this comparison is about large maps. In the last stage, with 7 x 7 tokens, the
# network uses plain attention.
#
# ## The fast version: `hatnet.HMHSA`
#
# The module takes a batch $(B, H, W, C)$. We have used its parameters all along: `hatnet.to_numpy` returns them by
# name. So we can run both versions on the same three images and compare every named intermediate result. The module
# runs all images as one batch; the reference runs them one at a time.

# %%
batch = np.stack([X, X[:, ::-1], X[::-1]])  # the photo, mirrored, and upside down
fast = {}
with torch.inference_mode():
    fast["output"] = hmhsa(torch.from_numpy(batch), fast)
slow = [{} for _ in batch]
for image, one in zip(batch, slow, strict=True):
    one["output"] = reference.h_mhsa(image, params, heads, G1, G2, one)
for name, value in fast.items():
    error = relative_error(value, np.stack([one[name] for one in slow]))
    print(f"{name:15s} {tuple(value.shape)!s:24s} largest difference, relative: {error:.1e}")
    assert error < LIMIT

# %% [markdown]
# The numbers are the same up to float64 rounding, but the module has no loop over windows. The tokens of a window are
# not contiguous in memory, so a reshape alone gives the wrong windows. For windows of $g \times h$ tokens, `to_windows`
# first splits the two axes of the map into four, $(\text{rows}, g, \text{columns}, h)$. It swaps the middle two axes
# and then joins the axes again:

# %%
as_batch = torch.from_numpy(toy)[None, :, :, None]  # (1, 4, 6, 1)
print("a reshape alone:\n", as_batch.reshape(6, 4).numpy())
print("reshape, transpose, reshape:\n", module.to_windows(as_batch, (2, 2))[:, :, 0].numpy())
slices = [toy[window].ravel() for _, _, window in reference.windows(4, 6, 2)]
assert np.array_equal(module.to_windows(as_batch, (2, 2))[:, :, 0], slices)

# %% [markdown]
# Now all windows must have the same size, so windows at the border are padded with zeros. A padded token still has a
# key (the bias), so it would get some weight from softmax. A mask marks the keys that exist. The other keys get the
# score $-\infty$ and so the weight 0. Finally, `from_windows` removes the padding. Here is the 3 x 5 map, with dots for
# the padding:

# %% [fold: Code of the windows]
as_batch = torch.from_numpy(odd)[None, :, :, None]  # (1, 3, 5, 1)
mask = module.window_mask(as_batch, (2, 2))  # (windows, 1, 1, keys)
for window, present in zip(
    module.to_windows(as_batch, (2, 2))[:, :, 0], mask[:, 0, 0], strict=True
):
    print(
        " ".join(
            f"{n:2d}" if there else " ."
            for n, there in zip(window.tolist(), present.tolist(), strict=True)
        )
    )
assert torch.equal(
    module.from_windows(module.to_windows(as_batch, (2, 2)), (2, 2), (3, 5)), as_batch
)

# %% [markdown]
# ## A test that draws its own cases
#
# Both versions agree on one photo. Do they agree on every map? A *property* is a claim about all cases. Ours is: "the
# fast version equals the reference for all sizes". [Hypothesis](https://hypothesis.readthedocs.io) draws random cases.
# We draw only sizes and a seed, not the numbers of the map, because bugs usually depend on sizes. `randomise` fills all
# parameters with random numbers, including norms and biases. So every part of the result is large enough to reveal a
# bug.

# %%
cases = []  # all cases tried, in order, with their errors


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
)
@given(
    H=st.integers(1, 9),
    W=st.integers(1, 9),
    heads=st.integers(1, 3),
    G1=st.integers(1, 5),
    G2=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def fast_is_slow(H, W, heads, G1, G2, seed):
    """Eq. 6-14: the batched module equals the reference, image by image."""
    layer = hatnet.HMHSA(4 * heads, heads, G1, G2).double()
    randomise(layer, seed)
    x = np.random.default_rng(seed).normal(size=(2, H, W, 4 * heads))
    with torch.inference_mode():
        got = layer(torch.from_numpy(x))
    want = np.stack([reference.h_mhsa(image, hatnet.to_numpy(layer), heads, G1, G2) for image in x])
    error = relative_error(got, want)
    cases.append(
        {"H": H, "W": W, "heads": heads, "G1": G1, "G2": G2, "seed": seed, "error": f"{error:.0e}"}
    )
    assert error < LIMIT, f"off by {error:.2g}"


fast_is_slow()
print(f"passed: {len(cases)} cases, such as", *cases[30::30], sep="\n")

# %% [markdown]
# ## Plant a bug
#
# A test that has never failed proves little. So we break the module: our `from_windows` mixes up the rows and columns
# of windows. The bug is in one line. The code still runs, and all shapes are right.
#
# ??? question "Predict: on which maps is the result wrong? What is the smallest such map?"
#     The numbers of rows and columns of windows must differ, and a window must be more than one token high (otherwise
#     the reshape moves nothing). A map of three tokens in one column is enough, with $G_1 = 2$: it has two rows of
#     windows and one column.


# %%
def swapped_from_windows(x, window, size):
    """Like `from_windows` of `hatnet`, but with rows and columns of windows swapped."""
    rows, columns = -(-size[0] // window[0]), -(-size[1] // window[1])
    x = x.reshape(-1, columns, rows, *window, x.shape[-1]).transpose(
        2, 3
    )  # the bug: should be rows, columns
    return x.reshape(-1, rows * window[0], columns * window[1], x.shape[-1])[
        :, : size[0], : size[1]
    ]


def find_bug(**replacements):
    """Replace functions of the module, print how the property fails, return the shrunk case."""
    cases.clear()
    try:
        with mock.patch.multiple(module, **replacements):
            fast_is_slow()
    except AssertionError as error:
        print(str(error).splitlines()[0], *error.__notes__, sep="\n")
        first = next(n for n, case in enumerate(cases) if float(case["error"]) > LIMIT)
        print(f"case {first + 1} was the first to fail, shrunk in {len(cases) - first - 1} more:")
        print(cases[first])
        return cases[-1]
    raise AssertionError("the test did not find the bug")


shrunk = find_bug(from_windows=swapped_from_windows)
assert -(-shrunk["H"] // shrunk["G1"]) != -(
    -shrunk["W"] // shrunk["G1"]
)  # rows of windows, columns
assert shrunk["H"] * shrunk["W"] <= 6

# %% [markdown]
# The first failing case shows little, because any of its numbers might be the reason. So Hypothesis *shrinks* the case:
# it tries smaller and smaller values as long as the property still fails. In the final case, every remaining number
# matters: one head, no pooling, seed 0, a handful of tokens, and a map that is not square. (Hypothesis reduces the
# numbers one by one, so it may stop at 2 x 3, although 3 x 1 has fewer tokens.)
#
# **Would a single example have found the bug?** A square map would not, and neither would 4 x 5 tokens with $G_1 = 3$:
# with equal numbers of rows and columns of windows, the bug has no effect. **Would training have found it?** No.
# Training images are cropped to squares, so every stage has a square map. The error that training lowers, its gradients
# and the accuracy are identical to the last bit. But the first photo that is not square gives a wrong result, without
# any error message. We check this with HAT-Net-Tiny and untrained weights. We compare its **logits**, the scores of the
# 1000 classes:

# %% [fold: Code of the comparison]
torch.manual_seed(0)
model = hatnet.create_model("tiny").eval()
square = torch.from_numpy(normalise(photo)).float()[None]
portrait = square[:, :, :, 32:192]  # 224 x 160 pixels
logits = {}
for kind, function in (("right", module.from_windows), ("bug", swapped_from_windows)):
    with torch.inference_mode(), mock.patch.object(module, "from_windows", function):
        logits[kind] = model(square), model(portrait)
for name, right, wrong in zip(("square", "portrait"), logits["right"], logits["bug"], strict=True):
    print(f"{name:8s} logits differ, relative: {relative_error(wrong, right):.2g}")
assert torch.equal(logits["right"][0], logits["bug"][0])  # to the last bit
assert relative_error(logits["bug"][1], logits["right"][1]) > 0.01

# %% [markdown]
# ## Exercises
#
# **1. Count.** A map has 30 x 45 tokens, with $G_1 = 8$ and $G_2 = 4$. How many windows are there, and how large is the
# one at the bottom right? How many keys does the global step have?

# %% solution
window_sizes = [np.zeros((30, 45))[window].shape for _, _, window in reference.windows(30, 45, 8)]
assert len(window_sizes) == 4 * 6
assert window_sizes[-1] == (30 - 3 * 8, 45 - 5 * 8)  # 6 x 5 tokens
assert (
    reference.average_pool(np.zeros((30, 45, 1)), 4).size == 8 * 12
)  # 96 keys, rounded up in both directions

# %% [markdown]
# **2. When is H-MHSA cheaper?** Take $C = 320$, $G_1 = 7$, $G_2 = 2$ and square maps whose side is a multiple of 14.
# First find the number of tokens from Eq. 5 and 15, then the smallest such side.

# %% solution
# Divided by N C: 3 C + 2 N > 4 C + 98 + (C + N) / 2, so 1.5 N > 1.5 C + 98, so N > C + 65.3.
assert 28**2 > 320 + 65.3 > 14**2
cheaper = [
    side for side in range(14, 113, 14) if eq15(side, side, 320, 7, 2) < eq5(side, side, 320)
]
assert cheaper == [28, 42, 56, 70, 84, 98, 112]

# %% [markdown]
# **3. A property without a second implementation.** If you swap the left and the right half of the photo, how does the
# result of the local step change? Write this as an equation between calls of `local_attention` and check it. Does it
# also hold for $G_1 = 8$?

# %% solution
swapped = np.roll(X, 14, axis=1)  # 14 tokens are two windows, so whole windows move
assert np.allclose(reference.local_attention(swapped, params, heads, 7), np.roll(near, 14, axis=1))
near_8 = reference.local_attention(X, params, heads, 8)
assert not np.allclose(
    reference.local_attention(swapped, params, heads, 8), np.roll(near_8, 14, axis=1)
)
# No: 14 is not a multiple of 8, so after the swap, different tokens share a window.

# %% [markdown]
# **4. Another bug.** (In the notebook of this page.) Somebody forgets the mask: `window_mask` always returns `None`.
# First write down the smallest $H$,
# $W$ and $G_1$ for which the mask matters. (If the map is smaller than $G_1$, its window is as small as the map.) Then
# let `find_bug` look for this case.

# %% solution
shrunk = find_bug(window_mask=lambda x, window: None)
assert sorted((shrunk["H"], shrunk["W"])) == [
    1,
    3,
]  # two windows; the second has one token and one padded token
assert shrunk["G1"] == 2

# %% [markdown]
# **5. Plain attention inside.** $G_1$ and $G_2$ do not change the parameters. For which value of $G_1$ is the local
# step attention over all tokens, and for which $G_2$ is the global step? Check the first against
# `reference.multi_head_attention`, and the number of weights of the second.

# %% solution
normed = reference.group_norm(X, **reference.within(params, "norm"))
Q1, K1, V1 = np.split(
    reference.linear(normed.reshape(-1, C), **reference.within(params, "local_attention.qkv")),
    3,
    axis=-1,
)
plain, _ = reference.multi_head_attention(Q1, K1, V1, heads)
one_window = reference.local_attention(normed, params, heads, G1=28)
print(
    "G1 = 28 differs from plain attention by "
    f"{relative_error(one_window.reshape(-1, C), plain):.1e}"
)
assert relative_error(one_window.reshape(-1, C), plain) < LIMIT

reference.h_mhsa(X, params, heads, G1, 1, trace)
print("G2 = 1 has weights (heads, queries, keys)", trace["global_weights"].shape)
assert trace["global_weights"].shape == (heads, 784, 784)
assert np.array_equal(reference.average_pool(trace["local"], 1), trace["local"])

# %% [markdown]
# ## The claims of this page
#
# They are checked whenever the page is built.

# %% [fold: The checks]
assert G1**2 + merged.shape[0] * merged.shape[1] == 98  # keys per query, instead of 784
assert np.allclose(
    trace["global_weights"].sum(axis=-1), 1
)  # each row of weights is a mean over the whole map
assert eq5(56, 56, 48) > 15 * eq15(56, 56, 48, 8, 8)  # 15 times cheaper on the large map
assert eq5(14, 14, 320) < eq15(14, 14, 320, 7, 2)  # more expensive on the small map

# %% [markdown]
# ## What to remember
#
# - Local attention stops at the borders of the windows. Global attention reaches beyond them. Together, they need only
#   $G_1^2 + HW/G_2^2$ keys per query for the whole map.
# - In return, H-MHSA loses the details of far tokens and needs more projections. On small maps it costs more than it
#   saves.
# - The loops of the reference are easy to check by reading. We trust the fast version because it gives the same
#   numbers, even on maps that are not square.
