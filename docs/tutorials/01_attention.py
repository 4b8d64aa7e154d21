# %% [markdown]
# # Attention from scratch
#
# **The question: what can a token learn from the others?**
#
# Cut a photo into squares and write down a few numbers for each. Such a square is a **token**, its numbers are its
# **channels**. $N$ tokens of $C$ channels are a matrix $X$ of shape $(N, C)$, one row a token. A token on a cat's eye
# holds something like "dark green, with an edge". Whether that is an eye or a leaf stands in the other rows.
#
# Attention lets a token fetch what it lacks: its new value is a *weighted average* over all tokens, with weights that
# are computed from the tokens themselves. You need matrix products and the exponential function, nothing more.
#
# The numbers of equations, such as (2), are those of a paper, [*Vision Transformers with Hierarchical
# Attention*](https://doi.org/10.1007/s11633-024-1393-8). Its network is called HAT-Net. At the end you can read
# `reference/attention.py` (Eq. 1-3), and say from Eq. 5 where attention costs too much.

# %%
"""Tutorial 1: softmax, scaled dot products, heads, Eq. 1-5 of the paper, and why N^2 hurts."""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch

import hatnet
import hatnet.attention
import reference
from hatnet.data.photo import load_photo
from hatnet.equivalence import TOLERANCES, relative_error

np.set_printoptions(precision=3, suppress=True)
torch.set_num_threads(1)  # small matrices are faster on one core, and times easier to compare
rng = np.random.default_rng(0)
BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [markdown]
# ## 1. Softmax: from scores to weights
#
# Say a token has given three others the scores 1, 2, 3: the higher, the more it wants of them. An average needs
# weights that are positive and sum to one. Softmax raises $e$ to each score, then divides by the sum. With $s_m$ for
# the score of token $m$, and a sum over all tokens $m'$, its weight is
#
# $$w_m = \frac{e^{s_m}}{\sum_{m'} e^{s_{m'}}}$$

# %%
scores = np.array([1.0, 2.0, 3.0])
powers = np.exp(scores)
weights = powers / powers.sum()
print("e^score", powers, "sum", powers.sum().round(3))
print("weights", weights, "sum", weights.sum().round(3))
print("ratios of neighbours", weights[1:] / weights[:-1])

# %% [markdown]
# Both ratios are $e = 2.718\ldots$: one step more in score is $e$ times the weight. Only *differences* of scores count.
#
# ??? question "Predict: what comes out for the scores 1001, 1002, 1003?"
#     On paper the same weights, as the differences are the same. On the machine $e^{1001}$ is too large for a float:
#     it becomes infinite, and infinity divided by infinity is `nan`, "not a number".

# %%
large = scores + 1000
with np.errstate(over="ignore", invalid="ignore"):  # the overflow is what we want to see
    print("as written ", np.exp(large) / np.exp(large).sum())
powers = np.exp(large - large.max())  # of -2, -1, 0
print("shifted    ", powers / powers.sum())
assert np.allclose(reference.softmax(large), weights)  # the reference shifts too
for T in (0.1, 1, 10):
    print(f"scores / {T:<3}", reference.softmax(scores / T))

# %% [markdown]
# Taking the largest score from all of them changes nothing on paper, and then no power exceeds $e^0 = 1$.
#
# The last lines divide the scores by a **temperature** $T$. Cold (0.1): nearly all the weight on the largest. Hot
# (10): nearly equal weights. So the *size* of the scores decides between picking one token and averaging all.
#
# ## 2. Query, keys, values
#
# Where do the scores come from? Each token has three vectors, computed from its channels (part 7 says how):
#
# - a **query** $q$ of $d$ numbers: what it looks for;
# - a **key** $k$ of $d$ numbers: what it can be found by;
# - a **value** $v$, here of $d$ numbers too: what it hands over when found.
#
# The score is the dot product $q \cdot k$ divided by $\sqrt d$; part 3 says why. Here are one query and three tokens
# with $d = 2$. Check every line with a pocket calculator.

# %%
q = np.array([1.0, 2.0])
K = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # (3, 2), a row for each token
V = np.array([[10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])  # (3, 2)
products = K @ q  # 2*1 + 0*2, 0*1 + 2*2, 1*1 + 1*2
scores = products / np.sqrt(2)
weights = reference.softmax(scores)
print("q . k            ", products)
print("divided by sqrt 2", scores)
print("e^score          ", np.exp(scores), "sum", np.exp(scores).sum().round(3))
print("weights          ", weights)
print("weight * value   ", *(w * v for w, v in zip(weights, V, strict=True)))
print("their sum        ", weights @ V)

# %% [markdown]
# The second key fits the query best, so the second token gives most: 0.576 of its value $(0, 10)$. Attention averages,
# so the result lies among the values, never outside them.
#
# ## 3. Why divide by the square root of d?
#
# Let the numbers in queries and keys be independent, with mean 0 and variance 1. The dot product is a sum of $d$
# products, and each of these has mean 0 and variance 1.
#
# ??? question "Predict: the variance of the dot product for d = 64. What does softmax make of such scores?"
#     Variances of independent terms add up: 64, so a typical score is $\pm 8$. Scores that differ by 8 have weights
#     that differ by a factor $e^8 \approx 3000$. That is far too cold: before anything is learnt,
#     chance has picked one token.


# %%
def measure(d: int) -> tuple[float, float, float, float]:
    """For random queries with 16 keys each: variance of the scores and mean largest weight, unscaled and scaled."""
    s = np.einsum("nd,nmd->nm", rng.normal(size=(2000, d)), rng.normal(size=(2000, 16, d)))  # (query, key)
    raw, scaled = reference.softmax(s).max(axis=1).mean(), reference.softmax(s / np.sqrt(d)).max(axis=1).mean()
    return s.var(), (s / np.sqrt(d)).var(), raw, scaled


ds = np.array([2, 4, 8, 16, 32, 64, 128])
raw_variance, variance, raw_top, top = np.array([measure(d) for d in ds]).T

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
fig.set_label("Unscaled, the variance of scores grows as d and one key takes nearly all; scaled, neither depends on d.")
left.loglog(ds, ds, color="0.75", linewidth=6, label="predicted: d")
left.loglog(ds, raw_variance, "o", color=ORANGE, label=r"measured, $q \cdot k$")
left.loglog(ds, variance, "s", color=BLUE, label=r"measured, $q \cdot k / \sqrt{d}$")
left.set(title="Variance of the scores", xlabel="d, numbers in a query", ylabel="variance")
right.semilogx(ds, raw_top, "o-", color=ORANGE, label=r"$q \cdot k$")
right.semilogx(ds, top, "s-", color=BLUE, label=r"$q \cdot k / \sqrt{d}$")
right.axhline(1 / 16, color="0.4", linestyle=":", label="all 16 keys alike")
right.set(title="Largest of 16 weights, mean", xlabel="d, numbers in a query", ylabel="weight", ylim=(0, 1))
for ax in (left, right):
    ax.set_xticks(ds, ds)
    ax.minorticks_off()
    ax.legend()
plt.show()

# %% [markdown]
# Unscaled, at $d = 128$ one key takes nearly all the weight, and chance decides which. Scaled, all $d$ behave alike.
#
# ## 4. All queries at once: rows are queries, columns are keys
#
# Stack the queries into $Q$. Row $n$ of $Q K^T$ holds the scores of query $n$, a column for each key:
#
# $$A = \operatorname{Softmax}\!\left(\frac{Q K^T}{\sqrt d}\right) V \qquad\text{(2)}$$
#
# Softmax runs along each **row**: each query shares out one unit of attention. The classic bug is to run it along the
# columns. The shapes stay the same, so no error is raised.


# %%
def draw_weights(ax: plt.Axes, weights: np.ndarray, title: str) -> None:
    """Weights with their numbers: a row for each query, a column for each key."""
    ax.imshow(weights, cmap="cividis", vmin=0, vmax=1)
    for (n, m), w in np.ndenumerate(weights):
        ax.text(m, n, f"{w:.2f}", ha="center", va="center", color="white" if w < 0.5 else "black")
    N, M = weights.shape
    ax.set(title=title, xlabel="key", ylabel="query", xticks=range(M), yticks=range(N))
    ax.set(xticklabels=range(1, M + 1), yticklabels=range(1, N + 1))


Q = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]])  # the query of part 2, and two more
scores = Q @ K.T / np.sqrt(2)
over_keys = reference.softmax(scores)  # along each row
over_queries = reference.softmax(scores.T).T  # along each column
print("row sums, softmax over keys   ", over_keys.sum(axis=1))
print("row sums, softmax over queries", over_queries.sum(axis=1))

fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
fig.set_label("Weights of three queries on three keys: rows sum to one with the right axis, columns with the wrong.")
draw_weights(axes[0], over_keys, "right: rows sum to 1")
draw_weights(axes[1], over_queries, "wrong axis: columns sum to 1")
plt.show()

# %% [markdown]
# Row 1 on the left is part 2. A query of zeros (row 3) prefers nothing and gets the plain average.
#
# Would training show the bug? Let six tokens learn to report the mean of all six, once with each axis. (PyTorch
# improves three matrices step by step; what matters here is the error before and after.)


# %%
def train(axis: int) -> list[float]:
    """Mean squared error of attention with softmax along `axis`, while its three matrices are trained."""
    torch.manual_seed(0)
    X = torch.randn(64, 6, 4)  # 64 examples of 6 tokens with 4 channels
    Ws = [torch.randn(4, 4).requires_grad_() for _ in range(3)]
    optimiser = torch.optim.Adam(Ws, lr=0.05)
    errors = []
    for _ in range(150):
        Q, K, V = (X @ W for W in Ws)
        A = torch.softmax(Q @ K.mT / 4**0.5, dim=axis) @ V
        error = ((A - X.mean(dim=1, keepdim=True)) ** 2).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    return errors


trained = {"keys": train(axis=-1), "queries": train(axis=-2)}
for name, errors in trained.items():
    print(f"softmax over {name:<8} error {errors[0]:.3f} -> {errors[-1]:.5f}")

# %% [markdown]
# Both learn it. Here the bug does no harm; elsewhere it may cost accuracy, and still nothing says so. **That training
# goes well proves nothing about the code.** This is why the project has two implementations: one plain enough to check
# by eye, and a fast one that is held against it number by number.
#
# ## 5. Loops, then matrices
#
# Eq. 2 with no matrix in it, then as two matrix products, then as the reference has it, there with one head (part 6).
# The test has 4 queries, 7 keys and 6 channels: among unequal sizes a swapped axis can't hide.


# %%
def attention_loops(Q: np.ndarray, K: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Eq. 2, number by number: Q (N, d), K and V (M, d) -> A (N, d)."""
    (N, d), M = Q.shape, len(K)
    A = np.zeros((N, d))
    for n in range(N):
        scores = [sum(Q[n, c] * K[m, c] for c in range(d)) / d**0.5 for m in range(M)]
        powers = [np.exp(score - max(scores)) for score in scores]
        for m in range(M):
            for c in range(d):
                A[n, c] += powers[m] / sum(powers) * V[m, c]
    return A


Q, K, V = rng.normal(size=(4, 6)), rng.normal(size=(7, 6)), rng.normal(size=(7, 6))
by_loops = attention_loops(Q, K, V)
by_matrices = reference.softmax(Q @ K.T / np.sqrt(6)) @ V
by_reference, _ = reference.multi_head_attention(Q, K, V, heads=1)
print("largest difference", np.abs(by_loops - by_matrices).max(), np.abs(by_matrices - by_reference).max())
assert np.allclose(by_loops, by_matrices, rtol=0, atol=1e-14)
assert np.allclose(by_reference, by_matrices, rtol=0, atol=1e-14)

# %% [markdown]
# ## 6. Heads: several questions at once
#
# One softmax is one set of weights. A token that wants its neighbours, and apart from that all tokens of its colour,
# needs two. So the $C$ channels are cut into **heads**, groups of $d$ neighbouring channels. There are $C / d$ of
# them, each applies Eq. 2 to its own channels, and the results are laid side by side.
#
# Six tokens in a row are coloured red, blue, red, blue, red, blue. Channels 1 and 2 say where a token is (a point on a
# circle, 30 degrees further each time), channels 3 and 4 its colour. Queries, keys and values are the tokens
# themselves.

# %%
angle = np.deg2rad(30 * np.arange(6))
red = np.arange(6) % 2 == 0
X = 2.5 * np.stack([np.cos(angle), np.sin(angle), red, ~red], axis=1)  # (6, 4); 2.5 makes the softmax sharper
A, two = reference.multi_head_attention(X, X, X, heads=2)  # (6, 4), (2, 6, 6): heads, queries, keys
_, one = reference.multi_head_attention(X, X, X, heads=1)  # (1, 6, 6)
place = X[:, :2]
assert np.allclose(A[:, :2], attention_loops(place, place, place))  # head 1 sees its own channels only

fig, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
fig.set_label("Head 1 weighs near tokens, head 2 tokens of the same colour; a single head only tokens that are both.")
draw_weights(axes[0], two[0], "head 1 of 2: near")
draw_weights(axes[1], two[1], "head 2 of 2: same colour")
draw_weights(axes[2], one[0], "one head: near and same colour")
plt.show()

# %% [markdown]
# The single head adds the two scores, and that multiplies the powers: it can ask for "near *and* of my colour", not
# for one apart from the other. Both ways cost the same. Here we chose the channels; a network learns what its heads
# seek.
#
# ## 7. The whole of Eq. 1-3, and the block around it
#
# What is learnt are four matrices of size $C \times C$. Three make queries, keys and values from the same tokens
# (hence *self*-attention); the fourth mixes what the heads have found:
#
# $$Q, K, V = X W^q,\; X W^k,\; X W^v \qquad\text{(1)}$$
#
# $$A' = A W^p + X \qquad\text{(3)}$$
#
# Before you read code, know that
#
# - a map of $H \times W$ tokens is laid out row by row into $N = HW$ tokens;
# - it is **normalised** first: one mean taken out and one standard deviation divided by, over all tokens and channels
#   (group norm with one group), then a factor and an offset for each channel. The paper leaves this out, its authors'
#   code does it: **D1** in our list of such differences, the page "Paper against code". Their code also has a bias, a
#   vector added after each matrix (**D4**);
# - the $+ X$ is done by the **block**, which adds attention's result to what it gave to attention. The block then does
#   the same with an MLP, a small network for each token and its nearest neighbours: $Y = \operatorname{MLP}(A') + A'$
#   (Eq. 4).
#
# The parameters below are those of `micro`, a small network of ours. They are random: nothing has been learnt.

# %%
torch.manual_seed(0)
model = hatnet.create_model("micro").double()  # float64, as the reference
stage = model.config.stages[2]  # counted from 0: the last one, where attention is plain
params = reference.within(hatnet.to_numpy(model), "stages.2.blocks.0")  # those whose names begin with this
p = reference.within(params, "attention")
C, heads = stage.channels, stage.heads
x = rng.normal(size=(5, 7, C))

X = (x - x.mean()) / np.sqrt(x.var() + 1e-6) * p["norm.weight"] + p["norm.bias"]  # D1; 1e-6: never divide by 0
X = X.reshape(5 * 7, C)
Wq, Wk, Wv = np.split(p["qkv.weight"].T, 3, axis=1)  # PyTorch keeps matrices transposed, these three in one
bq, bk, bv = np.split(p["qkv.bias"], 3)
A, weights = reference.multi_head_attention(X @ Wq + bq, X @ Wk + bk, X @ Wv + bv, heads)  # Eq. 1, Eq. 2
attended = (A @ p["projection.weight"].T + p["projection.bias"]).reshape(5, 7, C)  # Eq. 3 without + X
assert np.allclose(attended, reference.mhsa(x, p, heads), rtol=0, atol=1e-13)

mlp = reference.within(params, "mlp")
A_prime = attended + x  # Eq. 3
Y = reference.mlp(A_prime, mlp) + A_prime  # Eq. 4
assert np.allclose(Y, reference.block(x, params, stage), rtol=0, atol=1e-13)

with torch.no_grad():  # the fast implementation takes several maps at once; here it gets one
    fast = model.stages[2].blocks[0].attention(torch.from_numpy(x)[None])[0]
error = relative_error(fast, attended)
print(f"C = {C}, {heads} heads of d = {C // heads}, weights {weights.shape}; PyTorch is off by {error:.0e}")
assert error < TOLERANCES[torch.float64]

# %% [markdown]
# Now read `reference/attention.py`; the concept page "Attention" shows it beside the equations. You have met every line
# of it but one kind: `trace` is a dictionary for those who want to see the weights afterwards. `linear` is
# `X @ weight.T + bias`, and `group_norm` the normalisation above.
#
# ## 8. Attention knows no order
#
# ??? question "Predict: shuffle the tokens before attention. What happens to the output?"
#     It is shuffled in the same way, and otherwise unchanged. The result of a token is a sum over all tokens, and a sum
#     has no order. Positions do not occur in Eq. 2. (The normalisation is over all tokens, so it has no order either.)

# %%
order = rng.permutation(5 * 7)
shuffled = x.reshape(35, C)[order].reshape(5, 7, C)
for name, layer in (("attention", lambda x: reference.mhsa(x, p, heads)), ("MLP", lambda x: reference.mlp(x, mlp))):
    then_shuffled = layer(x).reshape(35, C)[order].reshape(5, 7, C)
    follows = np.allclose(layer(shuffled), then_shuffled)
    print(f"{name}: shuffled tokens give the shuffled output: {follows}")
    assert follows == (name == "attention")

# %% [markdown]
# To attention alone, a photo and its shuffled patches are the same set. Many transformers give each token its
# position, as channels 1 and 2 did in part 6. HAT-Net does not: it has convolutions, at its start, between stages and
# in each MLP. A convolution mixes a token with its *neighbours*, so it notices the shuffle, and the zeros it puts
# around the map tell tokens near the border where the map ends.
#
# ## 9. On a photo
#
# The bundled photo becomes 14 x 14 patches of 16 x 16 pixels: 196 tokens. There are no learnt weights here, only
# colour. The channels are brightness, red against green, and yellow against blue, averaged over the patch, then
# brought to mean 0 and variance 1. Dot products reward long vectors, not only fitting ones, so each token is scaled to
# length 1: the score is now the cosine of the angle between two colours. In place of $\sqrt d$ we divide by 0.1,
# chosen by eye. We look at the weights only.

# %%
photo = load_photo(size=224).transpose(1, 2, 0)  # (224, 224, 3), in [0, 1]
R, G, B = photo.reshape(14, 16, 14, 16, 3).mean(axis=(1, 3)).reshape(196, 3).T
X = np.stack([R + G + B, R - G, R + G - 2 * B], axis=1)  # (196, 3)
X = (X - X.mean(axis=0)) / X.std(axis=0)
X /= np.linalg.norm(X, axis=1, keepdims=True)
photo_weights = reference.softmax(X @ X.T / 0.1).reshape(14, 14, 14, 14)  # query row, column; key row, column

fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
fig.set_label("A cat, and what two patches attend to: one at an eye both eyes, one at an ear both ears, and some fur.")
axes[0].imshow(photo, extent=(0, 14, 14, 0))
axes[0].set(title="the photo and two queries", ylabel="token row")
for ax, name, (row, column) in zip(axes[1:], "AB", ((4, 3), (0, 0)), strict=True):
    seen = photo_weights[row, column]
    opacity = np.kron(0.1 + 0.9 * seen / seen.max(), np.ones((16, 16)))[:, :, None]
    ax.imshow(1 - opacity * (1 - photo), extent=(0, 14, 14, 0))  # fades to white where the weight is small
    ax.set_title(f"what {name} attends to (full colour = {seen.max():.1%})")
    for marked in (axes[0], ax):
        marked.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, edgecolor=BLUE, linewidth=2.5))
        marked.text(column + 1.3, row + 0.8, name, color=BLUE, weight="bold", bbox={"color": "white", "pad": 1})
for ax in axes:
    ax.set_xlabel("token column")
plt.show()
other_eye = photo_weights[4, 3, 5:9, 10:13].sum()  # rows 5 to 8, columns 10 to 12
other_ear = photo_weights[0, 0, 0:3, 11:14].sum()
print(f"A gives {other_eye:.1%} of its weight to the 12 tokens around the other eye, {12 / 196:.1%} of all tokens")
print(f"B gives {other_ear:.1%} of its weight to the 9 tokens around the other ear, {9 / 196:.1%} of all tokens")

# %% [markdown]
# A, at an eye, finds the other eye, and fur on the forehead. B, at a pink ear, finds the other ear, and pale fur. The
# colours fit, no more: nothing here knows what an eye is. But a token reaches any other in one step, however far away,
# and learnt matrices $W^q$ and $W^k$ can make "fits" mean something better than "has my colour".
#
# ## 10. What it costs: Eq. 5
#
# Count multiply-accumulates, one `sum += a * b` each. A product of an $(n, k)$ with a $(k, m)$ matrix takes $n k m$.
# Eq. 1 is three products of $(N, C)$ with $(C, C)$. In each of $C / d$ heads, $Q K^T$ takes $N \cdot d \cdot N$, and
# the product with $V$ as many. With $N = HW$ the count $\Omega$ is
#
# $$\Omega = 3 H W C^2 + 2 H^2 W^2 C \qquad\text{(5)}$$
#
# Softmax is not counted, nor is $W^p$, which Eq. 5 leaves out (one more $H W C^2$). Let us count, not just believe.

# %%
macs = {"Eq. 1": 0, "Eq. 2": 0}


def product(A: np.ndarray, B: np.ndarray, equation: str) -> np.ndarray:
    """A @ B, number by number and counted."""
    result = np.zeros((A.shape[0], B.shape[1]))
    for n, m in np.ndindex(result.shape):
        for k in range(B.shape[0]):
            result[n, m] += A[n, k] * B[k, m]
            macs[equation] += 1
    return result


N, C, d = 10, 6, 3  # two heads
X = rng.normal(size=(N, C))
Q, K, V = (product(X, W, "Eq. 1") for W in rng.normal(size=(3, C, C)))
A = np.empty((N, C))
for own in (slice(0, d), slice(d, C)):
    weights = reference.softmax(product(Q[:, own], K[:, own].T, "Eq. 2") / np.sqrt(d))
    A[:, own] = product(weights, V[:, own], "Eq. 2")
assert np.allclose(A, reference.multi_head_attention(Q, K, V, heads=2)[0])
assert macs == {"Eq. 1": 3 * N * C**2, "Eq. 2": 2 * N**2 * C}
print(f"counted for N = {N}, C = {C}:", macs)

# %% [markdown]
# The count does not depend on the number of heads. The first part grows with $N$, the second with $N^2$. And the
# weights are $N \times N$ numbers in each head, of 4 bytes each in float32. What would plain attention cost in the
# four stages of HAT-Net-Small? (Counted from 0 here; Table 1 of the paper numbers them 2 to 5.)

# %%
config = hatnet.get_config("small")
for height, width in ((224, 224), (800, 1333)):
    print(f"image {height} x {width:<4}      tokens    C   Eq. 1 MACs   Eq. 2 MACs   weights, one image and block")
    for index, (stage, layout) in enumerate(zip(config.stages, config.layout(height, width), strict=True)):
        H, W = layout.map
        N, C = H * W, stage.channels
        print(
            f"  stage {index}: {H:3} x {W:<3} {N:8,} {C:4} {3 * N * C**2 / 1e9:10.2f} G {2 * N**2 * C / 1e9:10.2f} G"
            f" {stage.heads * N**2 * 4 / 1e6:12,.1f} MB"
        )

# %% [markdown]
# At 224 x 224 the first stage has $3136^2$ weights, 39 MB. At a usual size for object detection it has $66800^2$,
# 17.8 GB, for one image and one block. A *fused* kernel, such as the one `hatnet` calls, does all of Eq. 2 in one go,
# part by part, and need not store them all. The multiply-accumulates remain.
#
# ??? question "Predict: the photo gets twice as wide and twice as high. How much longer does Eq. 2 take?"
#     Four times the tokens, so 16 times the work. On small maps the time grows less: fixed costs weigh more there.

# %%
sides = np.array([14, 20, 28, 40, 56])
Ns, milliseconds = sides**2, []
for N in Ns:
    Q, K, V = torch.randn(3, 1, N, 64)  # a batch of one, 64 channels
    laps = []
    for _ in range(5):
        start = perf_counter()
        hatnet.attention.multi_head_attention(Q, K, V, heads=1)  # fused
        laps.append(1000 * (perf_counter() - start))
    milliseconds.append(min(laps))
slope = np.polyfit(np.log(Ns), np.log(milliseconds), 1)[0]

fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
fig.set_label("Measured time of Eq. 2 against the number of tokens, close to a line that grows with the square.")
ax.loglog(Ns, milliseconds[-1] * (Ns / Ns[-1]) ** 2.0, color="0.75", linewidth=6, label="$N^2$, through the last point")
ax.loglog(Ns, milliseconds, "o", color=ORANGE, label=f"measured; fitted slope {slope:.2f}")
ax.set(title="Time of Eq. 2: one core, C = 64, one head", xlabel="tokens N", ylabel="milliseconds, best of 5")
ax.set_xticks(Ns, [f"{side}$^2$" for side in sides])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# This is why $N^2$ hurts: twice the resolution is 16 times the work. Hierarchical attention lets a token see those
# *near* it in a window, and those *far* merged into a few. At 56 x 56, with windows of 8 x 8 and 7 x 7 merged tokens,
# a query has $64 + 49 = 113$ keys, not 3136. **Tutorial 2** builds it: Eq. 6-15.
#
# ## Exercises
#
# **1.** The keys are the rows of the 3 x 3 identity. Find a query whose weights are 1/2, 1/4, 1/4.

# %% solution
q = np.sqrt(3) * np.log([2.0, 1.0, 1.0])  # q . k is q itself; e^(log 2) : e^0 : e^0 = 2 : 1 : 1
assert np.allclose(reference.attention_weights(q[None], np.eye(3)), [[0.5, 0.25, 0.25]])

# %% [markdown]
# **2.** Give attention all keys and values twice over. What changes in the output? And if only the first token comes
# twice?

# %% solution
Q, K, V = rng.normal(size=(4, 6)), rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
once, _ = reference.multi_head_attention(Q, K, V, heads=1)
all_twice, _ = reference.multi_head_attention(Q, np.tile(K, (2, 1)), np.tile(V, (2, 1)), heads=1)
first_twice, _ = reference.multi_head_attention(Q, np.vstack([K, K[:1]]), np.vstack([V, V[:1]]), heads=1)
assert np.allclose(all_twice, once)  # each weight halves, and each value comes twice
assert not np.allclose(first_twice, once)  # the first value counts twice as much against the others

# %% [markdown]
# **3.** In `p`, the middle third of `qkv.bias` is added to every key. Show that it never changes the output of
# `reference.mhsa`, and that the first third, added to every query, does. Why?

# %% solution
C = len(p["norm.weight"])
key_bias, query_bias = np.zeros((2, 3 * C))
key_bias[C : 2 * C], query_bias[:C] = rng.normal(size=(2, C))
plain = reference.mhsa(x, p, heads)
assert np.allclose(reference.mhsa(x, {**p, "qkv.bias": key_bias}, heads), plain)
assert not np.allclose(reference.mhsa(x, {**p, "qkv.bias": query_bias}, heads), plain)
# q . (k + b) = q . k + q . b: the same number on a whole row of scores, and softmax sees differences only.

# %% [markdown]
# **4.** At how many tokens do the two parts of Eq. 5 cost the same? Which is larger in stage 2 of HAT-Net-Small at
# 224 x 224, with 14 x 14 tokens of 320 channels?

# %% solution
C = 320
N = 3 * C // 2  # from 3 N C^2 = 2 N^2 C
assert 3 * N * C**2 == 2 * N**2 * C
assert N > 14 * 14  # 480 > 196: fewer tokens than that, so Eq. 1 is larger

# %% [markdown]
# ## What must hold
#
# The claims of this page, checked each time it is built.

# %%
assert np.allclose(over_keys.sum(axis=1), 1)
assert not np.allclose(over_queries.sum(axis=1), 1)
assert all(errors[-1] < errors[0] / 100 for errors in trained.values())  # the bug trains as well
assert np.allclose(raw_variance / ds, 1, atol=0.1)
assert np.allclose(variance, 1, atol=0.1)
assert two[0, 0, 1] > 10 * two[1, 0, 1]  # head 1: the neighbour of the other colour
assert two[1, 0, 4] > 10 * two[0, 0, 4]  # head 2: the far token of the same colour
assert one[0, 0, 2] > 3 * max(one[0, 0, 1], one[0, 0, 4])  # one head: both at once
assert other_eye > 3 * 12 / 196  # far more than its share
assert other_ear > 3 * 9 / 196
assert (4 * (56 * 56) ** 2, 4 * (200 * 334) ** 2) == (39_337_984, 17_848_960_000)  # bytes: 39 MB, 17.8 GB
print("all checks passed")
