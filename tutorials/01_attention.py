# %% [markdown]
# # Attention from scratch
#
# **The question: what can a token learn from the others?** Cut a photo into squares and call them **tokens**. Below,
# two tokens, one on an eye and one on an ear, look at all others: the stronger the colour of a token, the more it
# contributes. Nothing was trained. The weights are computed from colours, with the formula of this page.

# %% [fold: Imports]
"""Tutorial 1: softmax, scaled dot products, heads, Eq. 1-5 of the paper, and their cost."""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch

import hatnet
import hatnet.attention
import reference
from hatnet.data.photo import load_photo
from hatnet.equivalence import TOLERANCES, randomise, relative_error

np.set_printoptions(precision=3, suppress=True)
torch.set_num_threads(1)  # small matrices are faster on one core, and times vary less
rng = np.random.default_rng(0)
BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [fold: Code of this figure]
photo = load_photo(size=224).transpose(1, 2, 0)  # (224, 224, 3), in [0, 1]
R, G, B = photo.reshape(14, 16, 14, 16, 3).mean(axis=(1, 3)).reshape(196, 3).T
X = np.stack([R + G + B, R - G, R + G - 2 * B], axis=1)  # (196, 3)
X = (X - X.mean(axis=0)) / X.std(axis=0)
X /= np.linalg.norm(X, axis=1, keepdims=True)
photo_weights = reference.softmax(X @ X.T / 0.1).reshape(14, 14, 14, 14)  # query, key; row, column

fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
fig.set_label(
    "A cat and the weights of two tokens. The eye attends to both eyes, the ear to both ears, "
    "and both attend to fur of a similar colour."
)
axes[0].imshow(photo, extent=(0, 14, 14, 0))
axes[0].set(title="14 x 14 tokens", ylabel="token row")
for ax, name, (row, column) in zip(axes[1:], ("eye", "ear"), ((4, 3), (0, 0)), strict=True):
    seen = photo_weights[row, column]
    opacity = np.kron(0.1 + 0.9 * seen / seen.max(), np.ones((16, 16)))
    ax.imshow(np.dstack([photo, opacity]), extent=(0, 14, 14, 0))  # small weights fade
    ax.set_title(f"weights of the {name}; strongest: {seen.max():.1%}")
    for marked in (axes[0], ax):
        edge = {"edgecolor": BLUE, "linewidth": 2.5}
        marked.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, **edge))
        box = {"color": "white", "pad": 1}
        marked.text(column + 1.3, row + 0.8, name, color=BLUE, weight="bold", bbox=box)
for ax in axes:
    ax.set_xlabel("token column")
plt.show()

# %% [markdown]
# The eye finds the other eye, and the ear finds the other ear. Why would a network want that? A token is described by a
# few numbers, its **channels**. $N$ tokens with $C$ channels form a matrix $X$ of shape $(N, C)$, with one row per
# token. A token on a cat's eye may contain "dark green, with an edge". Only the other tokens can tell whether it is an
# eye or a leaf.
#
# Attention gives a token this missing information. Its new value is a *weighted average* over all tokens, and the
# weights are computed from the tokens themselves. You only need matrix products and the exponential function.
#
# Equation numbers, such as (2), are those of the paper [*Vision Transformers with Hierarchical
# Attention*](https://doi.org/10.1007/s11633-024-1393-8). Its network is called HAT-Net. At the end of this tutorial,
# you can read `reference/attention.py` (Eq. 1-3) and use Eq. 5 to find out where attention becomes too expensive.
#
# **Try it first.** Move the query $q$, a key $k$ or a value $v$. Part 2 computes the numbers that you see at the start.
#
# <div>
# <attention-by-hand query="1,2" keys="2,0 0,2 1,1" values="10,0 0,10 10,10">
# <p>On the site's page of this tutorial, with JavaScript, you can move a query, three keys and three values here.</p>
# </attention-by-hand>
# </div>

# %% [markdown]
# ## 1. Softmax: from scores to weights
#
# Suppose that one token gives three other tokens the scores 1, 2 and 3. The higher the score, the more that token
# contributes to the average. But an average needs weights that are positive and sum to one. Softmax raises $e$ to the
# power of each score, then divides by the sum. If $s_m$ is the score of token $m$, its weight is
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
# Both ratios are $e = 2.718\ldots$: a score that is higher by 1 gives $e$ times the weight. Only the *differences* of
# scores matter.
#
# ??? question "Predict: what is the result for the scores 1001, 1002, 1003?"
#     In theory the weights are the same, because the differences are the same. But on a computer, $e^{1001}$ is too
#     large for a float. It becomes infinite, and infinity divided by infinity is `nan`, "not a number".

# %%
large = scores + 1000
with np.errstate(over="ignore", invalid="ignore"):  # we want to see the overflow
    print("as written ", np.exp(large) / np.exp(large).sum())
powers = np.exp(large - large.max())  # the scores are now -2, -1, 0
print("shifted    ", powers / powers.sum())
assert np.allclose(
    reference.softmax(large[None]), weights
)  # the reference also subtracts the maximum
for T in (0.1, 1, 10):
    print(f"scores / {T:<3}", reference.softmax(scores[None] / T)[0])

# %% [markdown]
# The remedy is to subtract the largest score from all scores. In theory this changes nothing, and now no power is
# larger than $e^0 = 1$.
#
# The last lines divide the scores by a **temperature** $T$. At a low temperature (0.1), the largest score gets nearly
# all the weight. At a high temperature (10), the weights are nearly equal. So the *size* of the scores matters: large
# scores pick one token, small scores average over all tokens.
#
# ## 2. Query, keys, values
#
# Where do the scores come from? Each token has three vectors, computed from its channels (part 7 shows how):
#
# - a **query** $q$ of $d$ numbers: what the token looks for;
# - a **key** $k$ of $d$ numbers: what the token offers to the queries of others;
# - a **value** $v$, here also of $d$ numbers: the content that it passes on.
#
# The score is the dot product $q \cdot k$ divided by $\sqrt d$; part 3 explains the division. Here are one query and
# three tokens with $d = 2$. You can check every line with a pocket calculator.

# %%
q = np.array([1.0, 2.0])
K = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # (3, 2), one row per token
V = np.array([[10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])  # (3, 2)
products = K @ q  # 2*1 + 0*2, 0*1 + 2*2, 1*1 + 1*2
scores = products / np.sqrt(2)
weights = reference.softmax(scores[None])[0]
print("q . k            ", products)
print("divided by sqrt 2", scores)
print("e^score          ", np.exp(scores), "sum", np.exp(scores).sum().round(3))
print("weights          ", weights)
print("weight * value   ", *(w * v for w, v in zip(weights, V, strict=True)))
print("their sum        ", weights @ V)

# %% [markdown]
# The second key fits the query best, so the second token contributes most: 0.576 of its value $(0, 10)$. The result is
# an average, so it always lies between the values.
#
# ## 3. Why divide by the square root of d?
#
# Assume that the numbers in queries and keys are independent, with mean 0 and variance 1. The dot product is a sum of
# $d$ products. Each product also has mean 0 and variance 1.
#
# ??? question "Predict: what is the variance of the dot product for d = 64? What weights does softmax give?"
#     Variances of independent terms add up, so the variance is 64, and a typical score is $\pm 8$. If two scores differ
#     by 8, their weights differ by a factor of $e^8 \approx 3000$. The temperature is far too low: one token gets
#     nearly all the weight at random, before the network has learnt anything.


# %%
def measure(d: int) -> tuple[float, float, float, float]:
    """Variance of the scores, mean largest weight; unscaled and scaled; 2000 queries, 16 keys."""
    s = np.einsum(
        "nd,nmd->nm", rng.normal(size=(2000, d)), rng.normal(size=(2000, 16, d))
    )  # (query, key)
    raw, scaled = (
        reference.softmax(s).max(axis=1).mean(),
        reference.softmax(s / np.sqrt(d)).max(axis=1).mean(),
    )
    return s.var(), (s / np.sqrt(d)).var(), raw, scaled


ds = np.array([2, 4, 8, 16, 32, 64, 128])
raw_variance, variance, raw_top, top = np.array([measure(d) for d in ds]).T

# %% [fold: Code of this figure]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
fig.set_label(
    "Unscaled, the variance grows with d, and one key gets nearly all weight. Scaled, both stay "
    "constant."
)
left.loglog(ds, ds, color="0.75", linewidth=6, label="predicted: d")
left.loglog(ds, raw_variance, "o", color=ORANGE, label=r"measured, $q \cdot k$")
left.loglog(ds, variance, "s", color=BLUE, label=r"measured, $q \cdot k / \sqrt{d}$")
left.set(title="Variance of the scores", xlabel="d, numbers in a query", ylabel="variance")
right.semilogx(ds, raw_top, "o-", color=ORANGE, label=r"$q \cdot k$")
right.semilogx(ds, top, "s-", color=BLUE, label=r"$q \cdot k / \sqrt{d}$")
right.axhline(1 / 16, color="0.4", linestyle=":", label="16 equal weights")
right.set(
    title="Mean of the largest of 16 weights",
    xlabel="d, numbers in a query",
    ylabel="weight",
    ylim=(0, 1),
)
for ax in (left, right):
    ax.set_xticks(ds, ds)
    ax.minorticks_off()
    ax.legend()
plt.show()

# %% [markdown]
# Without the division, one random key gets nearly all the weight at $d = 128$. With the division, the weights do not
# depend on $d$.
#
# ## 4. All queries at once: rows are queries, columns are keys
#
# Stack the queries into a matrix $Q$. Row $n$ of $Q K^T$ contains the scores of query $n$, with one column per key:
#
# $$A = \operatorname{Softmax}\!\left(\frac{Q K^T}{\sqrt d}\right) V \qquad\text{(2)}$$
#
# Softmax runs along each **row**: each query distributes one unit of attention. A classic bug is to run softmax along
# the columns. The shapes are the same, so there is no error message.


# %%
def draw_weights(ax: plt.Axes, weights: np.ndarray, title: str) -> None:
    """Draw weights with their numbers: one row per query, one column per key."""
    ax.imshow(weights, cmap="cividis", vmin=0, vmax=1)
    for (n, m), w in np.ndenumerate(weights):
        ax.text(m, n, f"{w:.2f}", ha="center", va="center", color="white" if w < 0.5 else "black")
    N, M = weights.shape
    ax.set(title=title, xlabel="key", ylabel="query", xticks=range(M), yticks=range(N))
    ax.set(xticklabels=range(1, M + 1), yticklabels=range(1, N + 1))


Q = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]])  # the query of part 2 and two more
scores = Q @ K.T / np.sqrt(2)
over_keys = reference.softmax(scores)  # along each row
over_queries = reference.softmax(scores.T).T  # along each column
print("row sums, softmax over keys   ", over_keys.sum(axis=1))
print("row sums, softmax over queries", over_queries.sum(axis=1))

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
fig.set_label(
    "Weights of three queries for three keys. Right axis: rows sum to one. Wrong axis: columns "
    "sum to one."
)
draw_weights(axes[0], over_keys, "right axis: rows sum to 1")
draw_weights(axes[1], over_queries, "wrong axis: columns sum to 1")
plt.show()

# %% [markdown]
# Row 1 on the left is the result of part 2. A query of zeros (row 3) prefers no key, so it gives the plain average.
#
# ### Would training reveal the bug?
#
# Take a task that cannot be solved without attention: to look something up. There are six tokens. Each has a key of its
# own (one of six), a value (a random number), and the key of another token that it *asks* for. Its output should be the
# value of that other token, which it does not have. There are two versions of the task:
#
# - **all ask for the same token**: six queries, one key;
# - **each asks for another token**: six queries, six keys, each key once.
#
# Values have variance 1. So a token that ignores the others can do no better than to answer 0, with a mean squared
# error of 1. With the right axis, a large score for the right key solves both versions. What about the wrong axis?
# There, each *key* distributes one unit over the queries. If we add up the outputs of all tokens, every value counts
# exactly once, whatever the scores are:
#
# $$\sum_n A_n = \sum_n \sum_m w_{nm} V_m = \sum_m \Big( \sum_n w_{nm} \Big) V_m = \sum_m V_m$$
#
# ??? question "Predict: which of the two versions can the wrong axis learn? How small can its error get?"
#     The second one: each key has to reach one query, and can give it its whole unit. The first one fails. The outputs
#     should add up to six times *one* value, but they always add up to the sum of all values. The best that is left is
#     the mean of all six values, the same answer for every question, with the error $1 - 1/6 = 0.83$.
#
# Training starts from random matrices for queries, keys and values. In each step, PyTorch computes the error on new
# random examples, and its **gradient**: for every number in the matrices, how much the error changes if that number
# grows a little. Then it moves each number a little in the direction that lowers the error. We train each version with
# both axes, five times each.


# %% [fold: Code of the training]
TOKENS, SEEDS, STEPS = 6, 5, 200


def examples(
    same: bool, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (seeds, count, 6, 13) of key, key asked for and value; and the values to find."""
    shape = (SEEDS, count, TOKENS)
    one, order = torch.rand((2, *shape), generator=generator).argsort(dim=-1)
    asked = one[..., :1].expand(shape) if same else order  # the number of a token
    keys, value = torch.eye(TOKENS), torch.randn((*shape, 1), generator=generator)
    X = torch.cat([keys.expand(*shape, TOKENS), keys[asked], value], dim=-1)
    return X, value.gather(-2, asked[..., None])


def train(same: bool, axis: int) -> np.ndarray:
    """Train with softmax along `axis`, all seeds at once. Returns errors, (steps, seeds)."""
    generator = torch.Generator().manual_seed(0)
    C = 2 * TOKENS + 1
    Ws = [torch.randn((SEEDS, 1, C, d), generator=generator) / C**0.5 for d in (TOKENS, TOKENS, 1)]
    optimiser = torch.optim.Adam([W.requires_grad_() for W in Ws], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimiser, 1.0, 0.01, STEPS
    )  # smaller and smaller steps
    history = []
    for _ in range(STEPS):
        X, wanted = examples(same, 64, generator)
        Q, K, V = (X @ W for W in Ws)
        A = torch.softmax(Q @ K.mT / TOKENS**0.5, dim=axis) @ V
        errors = ((A - wanted) ** 2).mean(dim=(1, 2, 3))  # of each seed
        optimiser.zero_grad()
        errors.sum().backward()  # the gradient
        optimiser.step()
        schedule.step()
        history.append(errors.detach().numpy())
    return np.array(history)


TASKS = {"all ask for the same token": True, "each asks for another token": False}
AXES = {"right axis (keys)": (-1, BLUE, "-"), "wrong axis (queries)": (-2, ORANGE, "--")}
trained = {
    (task, axis): train(same, AXES[axis][0]) for task, same in TASKS.items() for axis in AXES
}
print("error of the last 50 steps, for each of five starts")
for (task, axis), errors in trained.items():
    print(f"{task:28} {axis:21}", errors[-50:].mean(axis=0))

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
fig.set_label(
    "Error against training steps, five seeds each. All ask for the same token: the right axis "
    "falls to zero, the "
    "wrong axis stays at 0.83, the error of the mean of all values. Each asks for another token: "
    "both fall to zero."
)
smooth = np.ones(20) / 20  # the error of one batch is noisy
for ax, task in zip(axes, TASKS, strict=True):
    for axis, (_, colour, style) in AXES.items():
        lines = [np.convolve(of_seed, smooth, mode="valid") for of_seed in trained[task, axis].T]
        ax.plot(np.arange(20, STEPS + 1), np.transpose(lines), style, color=colour, linewidth=1.2)
        ax.plot([], [], style, color=colour, label=axis)
    ax.axhline(1, color="0.3", linestyle=":", label="without the others: 1")
    ax.axhline(1 - 1 / TOKENS, color="0.3", linestyle="-.", label="mean of all values: 0.83")
    ax.set(title=task, xlabel="step", ylim=(0, 1.4))
axes[0].set_ylabel("mean squared error, 20 steps")
axes[1].legend()
plt.show()

# %% [markdown]
# The wrong axis fails where the prediction says so, and ends at the predicted error. But in the other version it learns
# as well as the right axis, and nothing warns you. **Successful training does not prove that the code is correct.**
# This is why the project has two implementations. One is simple enough to check by reading. The other is fast, and the
# tests compare it with the first one, number by number.
#
# ## 5. Loops, then matrices
#
# Here is Eq. 2 in three versions: as loops over single numbers, as two matrix products, and from the reference with one
# head (part 6 explains heads). The example has 4 queries, 7 keys and 6 channels. With unequal sizes, a swapped axis
# cannot go unnoticed.


# %%
def attention_loops(Q: np.ndarray, K: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Eq. 2 with loops over single numbers: Q (N, d), K and V (M, d) -> A (N, d)."""
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
print(
    "largest difference",
    np.abs(by_loops - by_matrices).max(),
    np.abs(by_matrices - by_reference).max(),
)
assert np.allclose(by_loops, by_matrices, rtol=0, atol=1e-14)
assert np.allclose(by_reference, by_matrices, rtol=0, atol=1e-14)

# %% [markdown]
# ## 6. Heads: several questions at once
#
# One softmax gives one set of weights. If a token has to find its neighbours and, separately, all tokens of its colour,
# it needs two sets. So the $C$ channels are split into **heads**, groups of $d$ neighbouring channels. There are
# $C / d$ heads. Each head applies Eq. 2 to its own channels, and the results are concatenated.
#
# In this example, six tokens in a row have the colours red, blue, red, blue, red, blue. Channels 1 and 2 contain the
# position of a token (a point on a circle; each token is 30 degrees further). Channels 3 and 4 contain its colour.
# Queries, keys and values are the tokens themselves.

# %%
angle = np.deg2rad(30 * np.arange(6))
red = np.arange(6) % 2 == 0
X = 2.5 * np.stack(
    [np.cos(angle), np.sin(angle), red, ~red], axis=1
)  # (6, 4); 2.5 makes the softmax sharper
A, two = reference.multi_head_attention(X, X, X, heads=2)  # (6, 4), (2, 6, 6): heads, queries, keys
_, one = reference.multi_head_attention(X, X, X, heads=1)  # (1, 6, 6)
place = X[:, :2]
assert np.allclose(
    A[:, :2], attention_loops(place, place, place)
)  # head 1 uses only its own channels

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
fig.set_label(
    "Head 1 attends to near tokens, head 2 to tokens of the same colour, a single head to near "
    "tokens of it."
)
draw_weights(axes[0], two[0], "head 1 of 2: near")
draw_weights(axes[1], two[1], "head 2 of 2: same colour")
draw_weights(axes[2], one[0], "one head: near and same colour")
plt.show()

# %% [markdown]
# The single head adds the two scores, so it multiplies their powers. It can find tokens that are near *and* of the same
# colour, but it cannot find the two groups separately. One head and two heads cost the same. Here we chose the channels
# by hand; a network learns them.
#
# ## 7. The layer and the block, in three steps
#
# ![Shapes: a map (5, 7, C) becomes X (35, C). Three matrices give Q, K and V, (35, C) each. Softmax of Q K^T gives the
# weights (heads, 35, 35), times V gives A (35, C). The matrix W^p and the input added back give A' (35, C). The MLP,
# and A' added back, give Y (35, C).](../concepts/diagrams/shapes.svg){ .shapes }
#
# **Step 1: four matrices.** Three learnt matrices of size $C \times C$ compute queries, keys and values from the same
# tokens (this is why it is called *self*-attention). A fourth one mixes the results of the heads:
#
# $$Q, K, V = X W^q,\; X W^k,\; X W^v \qquad\text{(1)}$$
#
# $$A' = A W^p + X \qquad\text{(3)}$$
#
# The last term adds the input back. This is a **residual connection**, in short a *residual*: the layer only has to
# learn what to change. The code below takes the matrices from a small network with random numbers. After each matrix,
# the network also adds a learnt vector, its **bias**; the paper leaves it out.

# %%
model = hatnet.create_model("micro").double()  # float64, like the reference
randomise(model, seed=0)  # random matrices and biases: nothing is trained
block = reference.within(hatnet.to_numpy(model), "stages.2.blocks.0")  # arrays by name
p = reference.within(block, "attention")
C, heads = model.config.stages[2].channels, model.config.stages[2].heads
x = rng.normal(size=(5, 7, C))  # a map of 5 x 7 tokens

Wq, Wk, Wv = np.split(p["qkv.weight"].T, 3, axis=1)  # one array holds all three, transposed
bq, bk, bv = np.split(p["qkv.bias"], 3)


def attend(X: np.ndarray) -> np.ndarray:
    """Eq. 1 and 2, and the product with W^p, for tokens (N, C)."""
    A, _ = reference.multi_head_attention(X @ Wq + bq, X @ Wk + bk, X @ Wv + bv, heads)
    return A @ p["projection.weight"].T + p["projection.bias"]


print(f"C = {C}: {heads} heads of d = {C // heads}; attend:", attend(x.reshape(35, C)).shape)

# %% [markdown]
# **Step 2: normalise first.** Products of large numbers would make softmax pick one token, as in part 3. So the layer
# first subtracts the mean of the whole map and divides by its standard deviation. Then it multiplies each channel by a
# learnt weight and adds a learnt bias. This is a *group norm* with a single group. The paper does not mention it, but
# its authors' code has it. (The page "Paper versus code" lists such differences; this one is D1, and the biases are
# D4.)

# %%
normed = (x - x.mean()) / np.sqrt(x.var() + 1e-6)  # 1e-6 avoids a division by 0
normed = normed * p["norm.weight"] + p["norm.bias"]
attended = attend(normed.reshape(35, C)).reshape(5, 7, C)
assert np.allclose(attended, reference.mhsa(x, p, heads), rtol=0, atol=1e-11)

with torch.no_grad():  # the fast implementation takes a batch of maps; here one map
    fast = model.stages[2].blocks[0].attention(torch.from_numpy(x)[None])[0]
error = relative_error(fast, attended)
print(f"NumPy and PyTorch differ by {error:.0e}, relative")
assert error < TOLERANCES[torch.float64]

# %% [markdown]
# **Step 3: the block.** A **block** is attention with its residual, then an **MLP** with its own residual. The MLP is a
# small network that is applied to every token and its nearest neighbours:
#
# $$Y = \operatorname{MLP}(A') + A' \qquad\text{(4)}$$
#
# HAT-Net is a row of such blocks. Blocks that work on maps of the same size form a **stage**. We count stages from 0,
# as in the code, so `stages.2.blocks.0` is the first block of the third stage.

# %%
mlp = reference.within(block, "mlp")
A_prime = attended + x  # Eq. 3
Y = reference.mlp(A_prime, mlp) + A_prime  # Eq. 4
assert np.allclose(Y, reference.block(x, block, model.config.stages[2]), rtol=0, atol=1e-11)
print("a map", x.shape, "goes in, a map", Y.shape, "comes out")

# %% [markdown]
# Now you can read `reference/attention.py`; the concept page "Attention" shows it beside the equations. Only `trace` is
# new: a dictionary that stores the weights, for looking at them later.
#
# ## 8. Attention ignores the order of tokens
#
# ??? question "Predict: shuffle the tokens before attention. What happens to the output?"
#     It is shuffled in the same way, and otherwise unchanged. Each result is a sum over all tokens, and the order of a
#     sum does not matter. Eq. 2 does not contain positions. (The normalisation is also over all tokens, so it does not
#     depend on their order either.)

# %%
order = rng.permutation(5 * 7)
shuffled = x.reshape(35, C)[order].reshape(5, 7, C)
for name, layer in (
    ("attention", lambda x: reference.mhsa(x, p, heads)),
    ("MLP", lambda x: reference.mlp(x, mlp)),
):
    then_shuffled = layer(x).reshape(35, C)[order].reshape(5, 7, C)
    follows = np.allclose(layer(shuffled), then_shuffled)
    print(f"{name}: shuffled tokens give the shuffled output: {follows}")
    assert follows == (name == "attention")

# %% [markdown]
# For attention alone, a photo and its shuffled patches are the same set of tokens. Many transformers add the position
# to each token, as channels 1 and 2 did in part 6. HAT-Net does not. It has convolutions instead: in its **stem**, the
# two layers that turn pixels into tokens, between stages and in each MLP. A convolution mixes a token with its
# *neighbours*, so its result changes when the tokens are shuffled. It also pads the map with zeros, so tokens near the
# border are treated differently.
#
# ## 9. The photo again
#
# The first figure has 196 tokens of 16 x 16 pixels and no learnt weights, only colours: brightness, red minus green,
# and yellow minus blue, averaged over the token and normalised. Dot products favour long vectors, so each token is
# scaled to length 1. The score is then the cosine of the angle between two colours. Instead of $\sqrt d$ we divide by
# 0.1, a value chosen by eye. Do the two tokens really find their partners?

# %% [fold: Code of the sums]
other_eye = photo_weights[4, 3, 5:9, 10:13].sum()  # rows 5 to 8, columns 10 to 12
other_ear = photo_weights[0, 0, 0:3, 11:14].sum()
print(f"eye: {other_eye:.1%} of its weight on the other eye, {12 / 196:.1%} of all tokens")
print(f"ear: {other_ear:.1%} of its weight on the other ear, {9 / 196:.1%} of all tokens")

# %% [markdown]
# Only colours match here; there is no notion of an eye. But a token can reach any other token in one step, at any
# distance. And with learnt matrices $W^q$ and $W^k$, a match can mean more than an equal colour.
#
# ## 10. The cost: Eq. 5
#
# We count multiply-accumulates; one is `sum += a * b`. The product of an $(n, k)$ matrix and a $(k, m)$ matrix takes
# $n k m$ of them. Eq. 1 has three products of $(N, C)$ with $(C, C)$. In each of the $C / d$ heads, $Q K^T$ takes
# $N \cdot d \cdot N$, and so does the product with $V$. With $N = HW$, the count $\Omega$ is
#
# $$\Omega = 3 H W C^2 + 2 H^2 W^2 C \qquad\text{(5)}$$
#
# Eq. 5 leaves out softmax and $W^p$ (another $H W C^2$). Let us count to check it.

# %%
macs = {"Eq. 1": 0, "Eq. 2": 0}


def product(A: np.ndarray, B: np.ndarray, equation: str) -> np.ndarray:
    """A @ B with loops over single numbers; counts the multiply-accumulates in `macs`."""
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
for head in (slice(0, d), slice(d, C)):  # the channels of each head
    weights = reference.softmax(product(Q[:, head], K[:, head].T, "Eq. 2") / np.sqrt(d))
    A[:, head] = product(weights, V[:, head], "Eq. 2")
assert np.allclose(A, reference.multi_head_attention(Q, K, V, heads=2)[0])
assert macs == {"Eq. 1": 3 * N * C**2, "Eq. 2": 2 * N**2 * C}
print(f"counted for N = {N}, C = {C}:", macs)

# %% [markdown]
# The count does not depend on the number of heads. The first part grows with $N$, the second with $N^2$. The weights
# also need memory: $N \times N$ numbers per head, 4 bytes each in float32. How much would plain attention cost in the
# four stages of HAT-Net-Small? (Table 1 of the paper numbers them 2 to 5.)

# %% [fold: Code of the table]
config = hatnet.get_config("small")
for height, width in ((224, 224), (800, 1333)):
    print(
        f"image {height} x {width:<4}      tokens    C   Eq. 1 MACs   Eq. 2 MACs   weights, one "
        "image and block"
    )
    for index, (stage, layout) in enumerate(
        zip(config.stages, config.layout(height, width), strict=True)
    ):
        H, W = layout.map
        N, C = H * W, stage.channels
        print(
            f"  stage {index}: {H:3} x {W:<3} {N:8,} {C:4} {3 * N * C**2 / 1e9:10.2f} G "
            f"{2 * N**2 * C / 1e9:10.2f} G"
            f" {stage.heads * N**2 * 4 / 1e6:12,.1f} MB"
        )

# %% [markdown]
# At 224 x 224 pixels, the first stage has $3136^2$ weights, 39 MB. At a usual size for object detection, it has
# $66800^2$ weights, 17.8 GB, for one image and one block. A *fused* kernel, such as the one that `hatnet` calls,
# computes Eq. 2 in small pieces and need not store all weights at once. But the number of multiply-accumulates stays
# the same.
#
# ??? question "Predict: the photo becomes twice as wide and twice as high. How much longer does Eq. 2 take?"
#     It has four times as many tokens, so Eq. 2 takes 16 times as long. On small maps the factor is smaller, because
#     fixed costs matter more there.

# %% [fold: Code of the measurement and its figure]
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
fig.set_label(
    "Measured time of Eq. 2 against the number of tokens N. The points lie close to a line for N "
    "squared."
)
ax.loglog(
    Ns,
    milliseconds[-1] * (Ns / Ns[-1]) ** 2.0,
    color="0.75",
    linewidth=6,
    label="$N^2$, through the last point",
)
ax.loglog(Ns, milliseconds, "o", color=ORANGE, label=f"measured; fitted slope {slope:.2f}")
ax.set(
    title="Time of Eq. 2: one core, C = 64, one head",
    xlabel="tokens N",
    ylabel="milliseconds, best of 5",
)
ax.set_xticks(Ns, [f"{side}$^2$" for side in sides])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# This is the problem with $N^2$: twice the resolution means 16 times the work. In hierarchical attention, a token
# attends to the tokens *near* it, inside a window, and to a few merged tokens that represent the tokens *far* away. On
# a map of 56 x 56 tokens, with windows of 8 x 8 and 7 x 7 merged tokens, a query has $64 + 49 = 113$ keys instead of
# 3136. **Tutorial 2** builds it: Eq. 6-15.
#
# ## Exercises
#
# **1.** The keys are the rows of the 3 x 3 identity. Find a query whose weights are 1/2, 1/4, 1/4.

# %% solution
q = np.sqrt(3) * np.log([2.0, 1.0, 1.0])  # q . k is q itself; e^(log 2) : e^0 : e^0 = 2 : 1 : 1
assert np.allclose(reference.attention_weights(q[None], np.eye(3)), [[0.5, 0.25, 0.25]])

# %% [markdown]
# **2.** Repeat all keys and values, so that each occurs twice. How does the output change? What if only the first token
# occurs twice?

# %% solution
Q, K, V = rng.normal(size=(4, 6)), rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
once, _ = reference.multi_head_attention(Q, K, V, heads=1)
all_twice, _ = reference.multi_head_attention(Q, np.tile(K, (2, 1)), np.tile(V, (2, 1)), heads=1)
first_twice, _ = reference.multi_head_attention(
    Q, np.vstack([K, K[:1]]), np.vstack([V, V[:1]]), heads=1
)
assert np.allclose(all_twice, once)  # each weight is half as large, and each value occurs twice
assert not np.allclose(first_twice, once)
# Twice the first token is the same as ln 2 more for its score: e^(s + ln 2) = 2 e^s.
scores = Q @ K.T / np.sqrt(6) + np.log([2, 1, 1, 1, 1])
assert np.allclose(first_twice, reference.softmax(scores) @ V)

# %% [markdown]
# **3.** (In the notebook of this page: it needs `x`, `p` and `heads`.) The middle third of `qkv.bias` in `p` is added
# to every key. Show that no change of it changes the output of `reference.mhsa`, but that a change of the first third,
# which is added to every query, does. Why?

# %% solution
key_bias, query_bias = np.zeros((2, 3 * len(p["norm.weight"])))
third = len(key_bias) // 3
key_bias[third : 2 * third], query_bias[:third] = rng.normal(size=(2, third))
plain = reference.mhsa(x, p, heads)
with_key = reference.mhsa(x, {**p, "qkv.bias": p["qkv.bias"] + key_bias}, heads)
with_query = reference.mhsa(x, {**p, "qkv.bias": p["qkv.bias"] + query_bias}, heads)
assert np.allclose(with_key, plain)
assert not np.allclose(with_query, plain)
# q . (k + b) = q . k + q . b adds the same number to a whole row of scores,
# and softmax depends only on differences of scores.

# %% [markdown]
# **4.** For how many tokens $N$ are the two parts of Eq. 5 equal, as a formula in $C$? Which part is larger in stage 2
# of HAT-Net-Small at 224 x 224 pixels, with 14 x 14 tokens and $C = 320$?

# %% solution
C = 320
N = 3 * C // 2  # N = 3/2 C, from 3 N C^2 = 2 N^2 C
assert 3 * N * C**2 == 2 * N**2 * C
assert N > 14 * 14  # 480 > 196: there are fewer tokens, so the part of Eq. 1 is larger

# %% [markdown]
# ## The claims of this page
#
# They are checked whenever the page is built.

# %% [fold: The checks]
assert np.allclose(over_keys.sum(axis=1), 1)
assert not np.allclose(over_queries.sum(axis=1), 1)
ends = {names: errors[-50:].mean(axis=0) for names, errors in trained.items()}  # of each seed
same, other = TASKS
assert all(ends[task, "right axis (keys)"].max() < 0.1 for task in TASKS)
assert np.allclose(
    ends[same, "wrong axis (queries)"], 1 - 1 / TOKENS, atol=0.1
)  # no better than the mean
assert ends[other, "wrong axis (queries)"].max() < 0.1  # training succeeds even with the bug
assert np.allclose(raw_variance / ds, 1, atol=0.1)
assert np.allclose(variance, 1, atol=0.1)
assert two[0, 0, 1] > 10 * two[1, 0, 1]  # head 1: the neighbour of the other colour
assert two[1, 0, 4] > 10 * two[0, 0, 4]  # head 2: the far token of the same colour
assert one[0, 0, 2] > 3 * max(one[0, 0, 1], one[0, 0, 4])  # one head: near and of the same colour
assert other_eye > 3 * 12 / 196  # far more than an equal share
assert other_ear > 3 * 9 / 196
assert (4 * (56 * 56) ** 2, 4 * (200 * 334) ** 2) == (
    39_337_984,
    17_848_960_000,
)  # bytes: 39 MB, 17.8 GB
print("all checks passed")
