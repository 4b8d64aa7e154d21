# %% [markdown]
# # The backward pass
#
# **The question: how does a network know which way to change each of its numbers?**
#
# In tutorial 4, one line did it: `loss.backward()`. PyTorch followed the chain rule through every layer. Here we do
# this by hand for hierarchical attention (H-MHSA): softmax, attention, windows, merging, normalisation, and the places
# where one map is used several times. Each step takes a few lines of NumPy. We check each of them against three
# independent computations: the functions in `reference/backward/`, central differences, and PyTorch's autograd.
#
# At the end, a network learns in NumPy alone, and you see which pixels its answer depends on.
#
# You need the derivative of a function of one number, the matrix product, and Eq. 2 and 6-14 from tutorials 1 and 2.
# The letters are those of the [notation page](../notation.md). The whole page runs in under a minute on one core.
#
# **Predict before you read on**, and write down three answers. Parts 3, 7 and 9 check them.
#
# 1. The keys have a bias vector. How does the loss change if you add 5 to each of its numbers?
# 2. $A_1$, the result of the local step, is used in several places. In how many? What must be done with the gradients
#    that come back from them?
# 3. A network is trained twice from the same start with the same batches: by PyTorch, and by the formulas of this page.
#    How far apart are the two losses after 50 steps?

# %% [fold: Imports]
"""Tutorial 8: the chain rule, the gradient of H-MHSA by hand, and learning in NumPy."""

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

import hatnet
import reference
from hatnet.data import open_data
from hatnet.data.images import balanced
from hatnet.equivalence import randomise, relative_error
from hatnet.training import Recipe, Training, join
from reference import backward
from reference.learning import Learner, Settings

np.set_printoptions(precision=3, suppress=True, linewidth=110)
torch.set_num_threads(1)
rng = np.random.default_rng(0)
BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [markdown]
# ## 1. The chain rule sends numbers back
#
# A network computes one number, the loss $\ell$, in many steps. Let $y = f(x)$ be one step, somewhere in the middle.
# Suppose that we already know how the loss depends on the *output* of this step: $dY_i = \partial \ell / \partial y_i$,
# one number per output. The chain rule gives the same for the *inputs*. It adds up all paths from an input to the loss:
#
# $$dX_j = \frac{\partial \ell}{\partial x_j} = \sum_i dY_i \, \frac{\partial y_i}{\partial x_j}$$
#
# The table of all $\partial y_i / \partial x_j$ is the Jacobian of $f$. The sum is a row vector times this matrix, a
# **vector-Jacobian product** (VJP). So each step needs one function: it receives `dy` and returns `dx`. Then the step
# before it takes over. This is the whole backward pass.
#
# The first example is a matrix product, $Y = X W$, or $Y_{nc} = \sum_k X_{nk} W_{kc}$. Which outputs contain $X_{nk}$?
# All of row $n$, each with the factor $W_{kc}$. Which contain $W_{kc}$? All of column $c$, each with the factor
# $X_{nk}$. Therefore
#
# $$dX_{nk} = \sum_c dY_{nc} W_{kc} \qquad dW_{kc} = \sum_n X_{nk}\, dY_{nc} \qquad\text{or}\qquad
# dX = dY\, W^T \qquad dW = X^T dY$$

# %%
X, W = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
dY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the loss is Y[0, 0] + Y[1, 2]
jacobian = np.einsum(
    "nm,kc->ncmk", np.eye(2), W
)  # of Y[n, c] with respect to X[m, k]: W[k, c] if n = m, else 0
print("dX by the Jacobian, 6 x 4 numbers", np.einsum("nc,ncmk->mk", dY, jacobian).tolist())
print("dX by the formula                ", (dY @ W.T).tolist())
print("dW by the formula                ", (X.T @ dY).tolist())
assert np.array_equal(np.einsum("nc,ncmk->mk", dY, jacobian), dY @ W.T)

# %% [markdown]
# The formula never builds the Jacobian. For a map of 28 x 28 tokens with 128 channels, the Jacobian of one layer would
# have $(28 \cdot 28 \cdot 128)^2 \approx 10^{10}$ numbers. The VJP needs about as many as the map.
#
# ### How we check
#
# A formula can be wrong and look right. So each one below has to agree with
#
# - **central differences**: change one input by $\pm h$ and measure. For a loss $\ell = \sum_i dY_i\, y_i$, this needs
#   no derivation at all: $dX_j \approx (\ell(x_j + h) - \ell(x_j - h)) / 2h$. The error is about $h^2$, plus rounding;
# - **autograd**: PyTorch's own derivatives, of code that we did not write for this page;
# - **the reference**: the functions in `reference/backward/`, which the tests compare with both over drawn sizes.


# %%
def central(f, x, dy, h=1e-5):
    """Gradient of sum(dy * f(x)) with respect to x, entry by entry, by measuring."""
    dx = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        dx[place] = (dy * (f(x + step) - f(x - step))).sum() / (2 * h)
    return dx


def autograd(f, x, dy):
    """The gradient of sum(dy * f(x)) with respect to x, by PyTorch."""
    leaf = torch.from_numpy(x).requires_grad_()
    return torch.autograd.grad(f(leaf), leaf, torch.from_numpy(dy))[0].numpy()


differences = {}  # the largest of each kind, checked at the end


def compare(name, by_hand, **others):
    """Print the relative difference of our gradient from each of the others."""
    found = {kind: relative_error(by_hand, other) for kind, other in others.items()}
    for kind, difference in found.items():
        differences[kind] = max(differences.get(kind, 0), difference)
    print(f"{name:14}", "  ".join(f"{kind} {difference:.0e}" for kind, difference in found.items()))


# %% [markdown]
# ## 2. Softmax: the weights of a row share one unit
#
# $P_{nm} = e^{S_{nm}} / \sum_{m'} e^{S_{nm'}}$. A score is in the numerator of its own weight, and in the denominator
# of all weights of its row. With $\delta_{mm'} = 1$ if $m = m'$ and 0 otherwise, the quotient rule gives
#
# $$\frac{\partial P_{nm'}}{\partial S_{nm}} = P_{nm'} (\delta_{mm'} - P_{nm}) \qquad\Rightarrow\qquad
# dS_{nm} = P_{nm} \Big( dP_{nm} - \sum_{m'} P_{nm'}\, dP_{nm'} \Big)$$
#
# In words: a score should rise if its weight is more useful than the *average* usefulness of the row. The average uses
# the weights themselves. A weight near 0 gets almost no gradient: a token that is ignored hardly learns to be seen.


# %%
def softmax_back(dP, P):
    """The gradient of the scores, from that of the weights P."""
    return P * (dP - (P * dP).sum(axis=-1, keepdims=True))


S, dP = rng.normal(size=(2, 3, 4))
dS = softmax_back(dP, reference.softmax(S))
compare(
    "softmax",
    dS,
    reference=backward.softmax_vjp(dP, S),
    differences=central(reference.softmax, S, dP),
    autograd=autograd(lambda S: S.softmax(dim=-1), S, dP),
)
print("row sums of dS", dS.sum(axis=1).round(15) + 0)

# %% [markdown]
# Each row of $dS$ sums to zero. It must: adding the same number to all scores of a row changes no weight, so the
# gradient has no part in that direction. Remember this for the next part.
#
# ## 3. Attention: queries, keys, values
#
# Eq. 2 is $A = P V$ with $P = \operatorname{Softmax}(S)$ and $S = Q K^T / \sqrt d$. These are two matrix products with
# softmax between them. We read them from the last to the first, and use the rule of part 1 twice:
#
# $$dV = P^T dA \qquad dP = dA\, V^T \qquad dQ = dS\, K / \sqrt d \qquad dK = dS^T Q / \sqrt d$$
#
# Forward, a token *collects* values with its row of $P$. Backward, a value collects gradients with its *column*:
# $P^T$. Heads are groups of channels that do not meet, so each sends back to its own channels.


# %%
def attention_back(dA, Q, K, V, heads=1):
    """The gradients of Q, K and V, for one or several heads."""
    d = Q.shape[1] // heads
    dQ, dK, dV = np.empty_like(Q), np.empty_like(K), np.empty_like(V)
    for head in range(heads):
        c = slice(head * d, (head + 1) * d)  # the channels of this head
        P = reference.softmax(Q[:, c] @ K[:, c].T / np.sqrt(d))  # the forward pass again
        dV[:, c] = P.T @ dA[:, c]
        dS = softmax_back(dA[:, c] @ V[:, c].T, P)
        dQ[:, c], dK[:, c] = dS @ K[:, c] / np.sqrt(d), dS.T @ Q[:, c] / np.sqrt(d)
    return dQ, dK, dV


Q, K, V = (
    rng.normal(size=(4, 6)),
    rng.normal(size=(5, 6)),
    rng.normal(size=(5, 6)),
)  # 4 queries, 5 keys
dA = rng.normal(size=(4, 6))
given = {"Q": Q, "K": K, "V": V}
by_reference = backward.multi_head_attention_vjp(dA, Q, K, V, heads=2)


def attention(**changed):
    """Eq. 2 in NumPy with two heads, one of the inputs replaced."""
    return reference.multi_head_attention(**(given | changed), heads=2)[0]


def torch_attention(**changed):
    """Eq. 2 in PyTorch."""
    inputs = {name: torch.from_numpy(value) for name, value in given.items()} | changed
    Q, K, V = (
        inputs[name].unflatten(1, (2, 3)).transpose(0, 1) for name in "QKV"
    )  # (heads, tokens, d)
    return F.scaled_dot_product_attention(Q, K, V).transpose(0, 1).flatten(1)


for name, by_hand, theirs in zip(
    "QKV", attention_back(dA, Q, K, V, heads=2), by_reference, strict=True
):
    compare(
        f"attention, d{name}",
        by_hand,
        reference=theirs,
        differences=central(lambda x, name=name: attention(**{name: x}), given[name], dA),
        autograd=autograd(lambda x, name=name: torch_attention(**{name: x}), given[name], dA),
    )

# %% [markdown]
# **The bias of the keys.** Keys are $K = X W^k + b$, with the same $b$ in each row. It adds $Q_n \cdot b / \sqrt d$ to
# *all* scores of query $n$. That is the same number for a whole row, so softmax ignores it. The gradient says the same:
# $db = \sum_m dK_m = \sum_n Q_n \sum_m dS_{nm} / \sqrt d$, and each row of $dS$ sums to zero.

# %%
_, dK, dV = attention_back(dA, Q, K, V, heads=2)
print("gradient of the bias of the keys  ", np.abs(dK.sum(axis=0)).max(), "(rounding)")
print("gradient of the bias of the values", dV.sum(axis=0))
print("5 added to the bias changes A by  ", np.abs(attention(K=K + 5) - attention()).max())
assert np.abs(dK.sum(axis=0)).max() < 1e-14

# %% [markdown]
# So the first answer is: the loss does not change. These parameters never learn, in this network or in any other with
# such a bias. For the comparison of two trainings, this matters: their gradients are pure rounding errors.
#
# ## 4. Windows: what was cut is joined again
#
# Cutting a map into windows (Eq. 6) moves numbers and computes nothing. As a matrix, it has a single 1 per row: output
# $i$ *gathers* input $s(i)$. The rule of part 1 says that the backward pass multiplies by the *transpose*, which
# *scatters*: what arrives for output $i$ is added to input $s(i)$.
#
# $$y_i = x_{s(i)} \qquad\Rightarrow\qquad dX_j = \sum_{i:\, s(i) = j} dY_i$$
#
# Each token is in exactly one window, so the sum has one term: the gradient of the windows is put back exactly as Eq. 8
# puts back the result. Here is a map of 3 x 5 tokens with $G_1 = 2$. The border cuts some windows, and this changes
# nothing.

# %%
tokens = np.arange(15).reshape(3, 5)
order = np.concatenate(
    [tokens[window].ravel() for _, _, window in reference.windows(3, 5, G1=2)]
)  # s(i)
gather = np.eye(15)[order]  # row i has its 1 in column s(i)
x, dy = rng.normal(size=(2, 15))
scattered = np.zeros(15)
np.add.at(scattered, order, dy)
print("tokens, window by window", order)
print(
    "gather = matrix:",
    np.array_equal(gather @ x, x[order]),
    " scatter = transpose:",
    np.allclose(gather.T @ dy, scattered),
)
assert np.array_equal(gather.T @ dy, scattered)

# %% [markdown]
# All windows use the *same* matrices $W_1^q, W_1^k, W_1^v$. A number that is used several times gets a gradient from
# each use, and the chain rule adds them up. So the gradient of $W_1^q$ is the sum over all windows. (A classic bug
# keeps only that of the last window.)
#
# ## 5. Merging: a mean sends back equal shares
#
# Average pooling (Eq. 10) replaces a cell of tokens by its mean. Each token has the factor $1 / (\text{number of tokens
# in its cell})$. Cells at the border may be smaller, and then the factor is larger (D6).
#
# ??? question "Predict: a map of 3 x 5 tokens in cells of 2 x 2. Each merged token gets 1. Which token gets most?"
#     The one in the corner. It is alone in its cell: it *is* the mean, so it receives all of the 1. Tokens in full
#     cells receive 1/4, the others at the border 1/2.


# %%
def pool_back(dmerged, shape, G2):
    """Each token receives its share of the gradient of its cell."""
    dA1 = np.empty(shape)
    for row, column, cell in reference.windows(*shape[:2], G2):  # cells are cut like windows
        dA1[cell] = dmerged[row, column] / dA1[cell][..., 0].size
    return dA1


x, dmerged = rng.normal(size=(3, 5, 2)), rng.normal(size=(2, 3, 2))
print(pool_back(np.ones((2, 3, 1)), (3, 5, 1), G2=2)[:, :, 0])
compare(
    "merging",
    pool_back(dmerged, x.shape, 2),
    reference=backward.average_pool_vjp(dmerged, x, G2=2),
    differences=central(lambda x: reference.average_pool(x, 2), x, dmerged),
    autograd=autograd(
        lambda x: F.avg_pool2d(x.permute(2, 0, 1), 2, ceil_mode=True).permute(1, 2, 0), x, dmerged
    ),
)

# %% [markdown]
# ## 6. Group norm: every number depends on every number
#
# The normalisation (D1) has *one* mean $\mu$ and *one* deviation $s = \sqrt{\sigma^2 + \epsilon}$ for all $M = HWC$
# numbers of a map: $\hat X = (X - \mu) / s$ and $Y = \gamma \hat X + \beta$. The parameters are easy:
# $d\gamma_c = \sum_{hw} dY_{hwc} \hat X_{hwc}$ and $d\beta_c = \sum_{hw} dY_{hwc}$. For the map, let
# $g = \gamma\, dY$ be what arrives at $\hat X$. A number $X_a$ reaches each $\hat X_b$ on three paths:
#
# - directly, if $a = b$, with the factor $1 / s$;
# - through the mean, $\partial \mu / \partial X_a = 1 / M$, with the factor $-1 / (s M)$;
# - through the deviation, $\partial s / \partial X_a = \hat X_a / M$, with the factor $-\hat X_b \hat X_a / (s M)$.
#
# We add the three paths over all $b$:
#
# $$dX = \frac{1}{s} \Big( g - \operatorname{mean}(g) - \hat X \operatorname{mean}(g \hat X) \Big)$$


# %%
def norm_back(dy, x, weight, bias):
    """The gradients of the map, of gamma (weight) and of beta (bias)."""
    s = np.sqrt(x.var() + 1e-6)
    normed, g = (x - x.mean()) / s, weight * dy
    dx = (g - g.mean() - normed * (g * normed).mean()) / s
    return dx, {"weight": (dy * normed).sum(axis=(0, 1)), "bias": dy.sum(axis=(0, 1))}


x, dy = rng.normal(size=(2, 3, 5, 4))
gamma, beta = 1 + rng.normal(size=4), rng.normal(size=4)
dx, _ = norm_back(dy, x, gamma, beta)


def torch_norm(x):
    """D1 in PyTorch."""
    parameters = torch.from_numpy(gamma), torch.from_numpy(beta)
    return F.group_norm(x.permute(2, 0, 1)[None], 1, *parameters, eps=1e-6)[0].permute(1, 2, 0)


compare(
    "group norm",
    dx,
    reference=backward.group_norm_vjp(dy, x, gamma, beta)[0],
    differences=central(lambda x: reference.group_norm(x, gamma, beta), x, dy),
    autograd=autograd(torch_norm, x, dy),
)
normed = (x - x.mean()) / x.std()
print(
    f"dx has no part along a constant map ({dx.sum():.0e}) and almost none along x itself "
    f"({(dx * normed).sum():.0e})"
)

# %% [markdown]
# The two subtracted terms remove what the normalisation cannot see: adding a number to the whole map, and stretching
# the whole map. (The second is not exactly zero because of $\epsilon = 10^{-6}$.) They couple *all* tokens: even a
# token whose own output does not matter gets a gradient.
#
# ## 7. H-MHSA: follow the arrows backward
#
# Now we put the steps together. The diagram shows Eq. 6-14. Solid arrows are the forward pass. Dashed arrows are the
# gradients; they visit the same boxes in reverse order.
#
# ![X has two uses, A1 has three. All their gradients are added.](../concepts/diagrams/backward.svg){ width="600" }
#
# Where an arrow splits on the way forward, gradients are **added** on the way back. $A_1$ is used three times: in the
# sum of Eq. 14, as the queries of Eq. 12, and in the merged tokens of Eq. 10. $X$ is used twice: in the residual of
# Eq. 9, and, normalised, in the windows. (Its third use, the $+ X$ of Eq. 14, belongs to the block, and adds $dY$.)
# A residual passes its gradient on unchanged, beside that of its branch.

# %%
H, W, C, heads, G1, G2 = 5, 7, 6, 2, 3, 2  # windows and cells that the border cuts
module = hatnet.HMHSA(C, heads, G1, G2).double()
randomise(module, seed=0)
params = hatnet.to_numpy(module)
x, dy = rng.normal(size=(2, H, W, C))


def of(layer):
    """The parameters of one layer."""
    return reference.within(params, layer)


def linear_back(dy, x, weight, bias):
    """Part 1, for a list of tokens. The weight is stored as the transpose of W."""
    return dy @ weight, {"weight": dy.T @ x, "bias": dy.sum(axis=0)}


def h_mhsa_back(dy, x, leave_out=()):
    """The gradients of x and of all parameters. `leave_out` lists paths to forget."""
    count = {
        path: path not in leave_out for path in ("sum", "queries", "merged", "residual", "normed")
    }
    # forward, as in tutorial 2
    normed = reference.group_norm(x, **of("norm"))
    summed = reference.local_attention(normed, params, heads, G1) + x  # Eq. 6-9
    A1 = reference.group_norm(summed, **of("local_norm"))
    pooled = reference.average_pool(A1, G2)  # Eq. 10
    merged = reference.group_norm(pooled, **of("merge.norm")).reshape(-1, C)
    Q2 = reference.linear(A1.reshape(-1, C), **of("global_attention.q"))  # Eq. 12
    K2, V2 = np.split(reference.linear(merged, **of("global_attention.kv")), 2, axis=1)
    A2 = reference.multi_head_attention(Q2, K2, V2, heads)[0].reshape(H, W, C)
    g = {}
    # backward, from the last line to the first
    dA, g["projection"] = linear_back(
        dy.reshape(-1, C), (A1 + A2).reshape(-1, C), **of("projection")
    )  # Eq. 14
    dQ2, dK2, dV2 = attention_back(dA, Q2, K2, V2, heads)
    dqueries, g["global_attention.q"] = linear_back(
        dQ2, A1.reshape(-1, C), **of("global_attention.q")
    )
    dmerged, g["global_attention.kv"] = linear_back(
        np.hstack([dK2, dV2]), merged, **of("global_attention.kv")
    )
    dpooled, g["merge.norm"] = norm_back(dmerged.reshape(pooled.shape), pooled, **of("merge.norm"))
    dA1 = (count["sum"] * dA + count["queries"] * dqueries).reshape(H, W, C)
    dA1 = dA1 + count["merged"] * pool_back(dpooled, A1.shape, G2)  # three uses of A1
    dsummed, g["local_norm"] = norm_back(dA1, summed, **of("local_norm"))
    dnormed, g["local_attention.qkv"] = windows_back(dsummed, normed)
    dx, g["norm"] = norm_back(dnormed, x, **of("norm"))
    return count["residual"] * dsummed + count["normed"] * dx, g  # two uses of X


def windows_back(dA1, normed):
    """Attention in each window; shared matrices add up the gradients of all windows."""
    qkv, dnormed = of("local_attention.qkv"), np.empty_like(normed)
    total = {name: np.zeros_like(value) for name, value in qkv.items()}
    for _, _, window in reference.windows(H, W, G1):
        X1 = normed[window].reshape(-1, C)
        Q1, K1, V1 = np.split(reference.linear(X1, **qkv), 3, axis=1)
        dQKV = np.hstack(attention_back(dA1[window].reshape(-1, C), Q1, K1, V1, heads))
        dX1, own = linear_back(dQKV, X1, **qkv)
        dnormed[window] = dX1.reshape(normed[window].shape)  # scatter
        for name in total:
            total[name] += own[name]
    return dnormed, total


dx, g = h_mhsa_back(dy, x)
dx_reference, g_reference = backward.h_mhsa_vjp(dy, x, params, heads, G1, G2)
leaf = torch.from_numpy(x)[None].requires_grad_()
module(leaf).backward(torch.from_numpy(dy)[None])
compare(
    "H-MHSA, dX",
    dx,
    reference=dx_reference,
    autograd=leaf.grad[0].numpy(),
    differences=central(lambda x: reference.h_mhsa(x, params, heads, G1, G2), x, dy),
)
largest = max(np.linalg.norm(value) for value in g_reference.values())
for name, parameter in module.named_parameters():
    layer, _, kind = name.rpartition(".")
    error = np.abs(g[layer][kind] - parameter.grad.numpy()).max()
    assert np.allclose(g[layer][kind], g_reference[name], rtol=1e-12, atol=1e-13)
    assert error < 1e-13 * largest, name
print(f"and the gradients of all {len(params)} parameters agree with autograd")

# %% [markdown]
# Is each path needed? We forget one at a time, and measure how far the gradient of $X$ is off.
#
# ??? question "Predict: which forgotten path does most harm here, and which least?"
#     The sum of Eq. 14 is the shortest path from $A_1$ to the output, and carries most. The queries carry least: they
#     only decide *where* the global step looks. With the weights of this part, a gradient without them is off by about
#     a quarter. Would training reveal that? Exercise 4 tries.

# %%
paths = ("sum", "merged", "queries", "residual", "normed")
forgotten = {path: relative_error(h_mhsa_back(dy, x, {path})[0], dx) for path in paths}
for path, error in forgotten.items():
    print(f"without the path {path:9} the gradient is off by {error:4.0%}")

# %% [markdown]
# None of these mistakes raises an error, and all shapes are right. Only a comparison of numbers finds them.
#
# ## 8. The whole network
#
# The other layers follow the same rule: convolutions, SiLU, the classifier, and the loss, where everything starts. For
# cross-entropy with the target $T$ and logits $Z$, the first gradient is simply $dZ = \operatorname{Softmax}(Z) - T$:
# predicted minus wanted. `reference.gradients` runs forward and backward through all layers. We compare it for `micro`,
# our small network for grey images, with random weights.

# %%
model = hatnet.create_model("micro", in_channels=1, classifier_drop_rate=0.0).double()
randomise(model, seed=1)
image, label = rng.normal(size=(1, 28, 28)), 3
params = hatnet.to_numpy(model)
loss, gradients, of_image = reference.gradients(image, label, params, model.config)

leaf = torch.from_numpy(image)[None].requires_grad_()
torch_loss = F.cross_entropy(model(leaf), torch.tensor([label]))
torch_loss.backward()
scale = max(np.linalg.norm(gradient) for gradient in gradients.values())
off = {
    name: np.linalg.norm(gradients[name] - parameter.grad.numpy())
    / max(np.linalg.norm(gradients[name]), 1e-3 * scale)
    for name, parameter in model.named_parameters()
}
print(f"loss {loss:.12f} by hand, {torch_loss.item():.12f} by PyTorch")
print(f"gradients of {len(off)} parameters: largest relative difference {max(off.values()):.0e}")
print(f"gradient of the image: {relative_error(of_image, leaf.grad[0].numpy()):.0e}")


def loss_at(t, direction):
    """The loss after a step of length t along a direction of all parameters at once."""
    moved = {name: value + t * direction[name] for name, value in params.items()}
    return reference.cross_entropy(reference.hat_net(image, moved, model.config), label)


direction = {
    name: rng.normal(size=value.shape) / np.sqrt(value.size) for name, value in params.items()
}
slope = (loss_at(1e-5, direction) - loss_at(-1e-5, direction)) / 2e-5
predicted = sum((gradients[name] * direction[name]).sum() for name in params)
print(
    f"slope along a random direction of all parameters: measured {slope:.8f}, predicted "
    f"{predicted:.8f}"
)
assert max(off.values()) < 1e-11
assert abs(slope - predicted) < 1e-6 * abs(predicted)

# %% [markdown]
# ## 9. Learning, without PyTorch
#
# A gradient is good for one thing: to take a step. `reference.learning.Learner` takes the mean gradient of a batch,
# clips it, and changes the weights with AdamW, as tutorial 4 explains. It calls no PyTorch. We give it a small network
# and 200 images of clothes, 20 per class, for 50 steps of 20 images.
#
# Next to it runs the project's own training loop, from the same weights and with the same batches. Both compute in
# float64. There is no augmentation and no dropout, so nothing is random after the start.

# %% [fold: Code of the training]
small = hatnet.HATNetConfig(
    in_channels=1,
    num_classes=10,
    stem_channels=8,
    channels=(8, 16),
    depths=(1, 1),
    kernel_sizes=(3, 3),
    expansions=(2, 2),
    head_dim=4,
    grid_sizes=(4,),
    pool_sizes=(2,),
    classifier_drop_rate=0.0,
)
recipe = Recipe(
    data="fashion-subset",
    variant="micro",
    image_size=28,
    epochs=5,
    batch_size=20,
    slice_size=20,
    lr=0.01,
    warmup_epochs=1,
    clip=1.0,
    ema=0.9,
    label_smoothing=0.1,
    crop_padding=0,
    flip=False,
    initial_weights="fan-in",
    precision="float32",
)
whole = open_data("fashion-subset")
data = replace(whole, train=whole.train.part(balanced(whole.train.labels, 20)))
steps = 50
settings = Settings(
    steps=steps,
    warmup=10,
    peak_rate=recipe.lr,
    clip=recipe.clip,
    average_decay=recipe.ema,
    smoothing=recipe.label_smoothing,
)

losses = {"PyTorch": [], "NumPy": []}
with tempfile.TemporaryDirectory() as folder, join("cpu") as processes:
    training = Training(recipe, data, Path(folder), processes, build=lambda _: hatnet.HATNet(small))
    fast = training.learner  # the library's
    fast.model.double()
    fast.average.model.double()
    learner = Learner(hatnet.to_numpy(fast.model), small, settings)  # the reference's
    for images, labels in (next(training.batches) for _ in range(steps)):
        losses["PyTorch"].append(fast.take_step(iter([(images.double(), labels)])).item())
        losses["NumPy"].append(learner.take_step(images.double().numpy(), labels.numpy()).loss)
losses = {name: np.array(values) for name, values in losses.items()}
apart = np.abs(losses["NumPy"] - losses["PyTorch"])
ends = {
    name: (learner.params[name], weight) for name, weight in hatnet.to_numpy(fast.model).items()
}
with_keys = {
    name: np.abs(ours - theirs).max()
    for name, (ours, theirs) in ends.items()
    if name.endswith("kv.bias")
}
others = {
    name: relative_error(ours, theirs)
    for name, (ours, theirs) in ends.items()
    if name not in with_keys
}
for step in (1, 10, 20, 30, 40, 50):
    print(
        f"step {step:2}: loss {losses['NumPy'][step - 1]:.10f} in NumPy, "
        f"{losses['PyTorch'][step - 1]:.10f} in PyTorch"
    )
print(f"largest difference of the two losses {apart.max():.0e}")
print(f"weights after {steps} steps: largest relative difference {max(others.values()):.0e}")
print(f"biases that contain those of keys: largest difference {max(with_keys.values()):.0e}")

# %% [fold: Code of this figure]
fig, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(3, 2)
)
fig.set_label(
    "Left: the loss falls from 2.3 to about 1.4 in 50 steps. The curve of NumPy lies exactly on "
    "the wider curve of "
    "PyTorch. Right: their difference on a logarithmic scale stays below 1e-14."
)
at = np.arange(1, steps + 1)
left.plot(
    at,
    losses["PyTorch"],
    color=ORANGE,
    alpha=0.45,
    linewidth=7,
    label="PyTorch, the project's training loop",
)
left.plot(at, losses["NumPy"], color=BLUE, linewidth=1.5, label="NumPy, the formulas of this page")
left.axhline(np.log(10), color="0.4", linestyle=":", label="guessing: log 10")
left.set(title="Loss of each batch", xlabel="step", ylabel="cross-entropy, nats", ylim=(0, None))
left.legend(loc="lower left")
right.semilogy(at, np.maximum(apart, 1e-17), ".", color=BLUE)  # a difference of 0 is drawn at 1e-17
right.axhline(
    np.finfo(float).eps, color="0.4", linestyle=":", label="spacing of floats at 1: 2e-16"
)
right.set(
    title="Difference of the two losses",
    xlabel="step",
    ylabel="absolute difference, nats",
    ylim=(1e-17, 1e-12),
)
right.legend()
plt.show()

# %% [markdown]
# The two curves cannot be told apart: all that differs is the rounding of float64. (A point at the lower edge means
# that both losses are equal in every bit.) So the formulas above are not only right at one point. They *train* the same
# network. The tests replay the project's loop in the same way, with mixed images and several slices per batch.
#
# One kind of parameter differs more than the rest, and part 3 explains it: the biases of keys. Their true gradient is
# zero, and rounding leaves about $10^{-17}$. AdamW divides each gradient by its usual size plus $10^{-8}$, so these
# biases drift at random by about $10^{-11}$ per step. The loss does not depend on them.
#
# ## 10. The gradient of the image
#
# The backward pass ends at the pixels. Usually this last gradient is thrown away. Here we look at it: $\partial Z_c /
# \partial \text{pixel}$ says how the logit of class $c$ changes if *one pixel* gets brighter by a *small* amount.
# `hat_net_vjp` starts from any gradient of the logits; a 1 for class $c$ and 0 elsewhere gives the map of $c$. The
# network is `micro` with the weights that come with the package.

# %%
trained = hatnet.create_model("micro", pretrained="fashion-mnist").double().eval()
params, config = hatnet.to_numpy(trained), trained.config
pixels = whole.test.pixels[:, 0].numpy() / 255  # (2500, 28, 28), in [0, 1]
labels = whole.test.labels.numpy()


def normalise(picture):
    """A picture as the network takes it."""
    return ((picture - whole.mean[0]) / whole.std[0])[None]


def logits_of(*given):
    """Logits of several pictures at once, by PyTorch."""
    with torch.no_grad():
        return trained(
            torch.from_numpy(np.stack([normalise(picture) for picture in given]))
        ).numpy()


def image_gradient(picture, label, params=params):
    """Derivative of one logit with respect to each pixel, from 0 to 1, (28, 28)."""
    of_image, _ = backward.hat_net_vjp(np.eye(10)[label], normalise(picture), params, config)
    return of_image[0] / whole.std[0]  # a pixel is divided by the deviation before it enters


names = {"trouser": 1, "dress": 3, "sneaker": 7, "bag": 8}
pictures = {name: pixels[np.flatnonzero(labels == label)[0]] for name, label in names.items()}
maps = {
    name: [image_gradient(picture, label) for label in names.values()]
    for name, picture in pictures.items()
}
for name, picture in pictures.items():
    print(f"{name:8} the network answers {whole.classes[logits_of(picture)[0].argmax()]}")

# %% [fold: Code of this figure]
fig, axes = plt.subplots(len(names), 5, figsize=(10, 7.6), layout="constrained")
fig.set_label(
    "Four garments and, beside each, the gradient of four logits with respect to its pixels. The "
    "maps are noisy and "
    "strongest on and around the garment. Those of different classes for one image are strong in "
    "similar places."
)
largest = np.quantile(np.abs(list(maps.values())), 0.995)
for row, (name, picture) in zip(axes, pictures.items(), strict=True):
    row[0].imshow(picture, cmap="gray", vmin=0, vmax=1)
    row[0].set_ylabel(name)
    for ax, of_class, label in zip(row[1:], maps[name], names, strict=True):
        bar = ax.imshow(of_class, cmap="PuOr", vmin=-largest, vmax=largest)
        for side in ax.spines.values():
            side.set(linewidth=2.5 if label == name else 0.5)
    for ax in row:
        ax.set(xticks=[], yticks=[])
for ax, title in zip(axes[0], ["image", *(f"logit of {name}" for name in names)], strict=True):
    ax.set_title(title)
fig.colorbar(
    bar, ax=axes, shrink=0.6, label="change of the logit per unit of brightness (black 0, white 1)"
)
plt.show()

# %% [markdown]
# Purple: a brighter pixel raises the logit. Orange: it lowers the logit. The thick frames mark the class of the image.
# All maps have one scale. The colours are capped: half a per cent of the pixels is stronger than they can show.
#
# **What it shows** is a slope, and we can test it as one. Change each pixel a little in the direction that raises the
# logit of the answer. Compare the change of the logit with the prediction, the sum of gradient times change.
#
# **What it does not show** is how much a pixel contributes. That is another experiment: erase a patch of 4 x 4 pixels
# (set it to black, the background), and measure how far the logit drops. The slope predicts a drop, too: the sum of
# gradient times brightness. If the map showed contributions, the two would agree.

# %% [fold: Code of the comparison]
own = {
    name: maps[name][place] for place, name in enumerate(names)
}  # of the logit of the image's class
measured = {}
for size in (0.001, 0.01, 0.1):
    ratios = []
    for name, label in names.items():
        change = size * np.sign(own[name])
        before, after = logits_of(pictures[name], pictures[name] + change)[:, label]
        ratios.append((after - before) / (own[name] * change).sum())
    measured[size] = np.array(ratios)
    print(
        f"all pixels changed by {size:5}: measured / predicted change of the logit",
        np.round(ratios, 2) + 0,
    )


def erased(name, label):
    """Predicted and measured drop of the logit for each of 49 patches, set to black."""
    picture, drops = pictures[name], []
    patches = [patch for _, _, patch in reference.windows(28, 28, 4)]
    without = [picture.copy() for _ in patches]
    for changed, patch in zip(without, patches, strict=True):
        drops.append((own[name] * picture)[patch].sum())
        changed[patch] = 0
    before, *after = logits_of(picture, *without)[:, label]
    return np.array(drops), before - np.array(after)


drops = np.concatenate([erased(name, label) for name, label in names.items()], axis=1)
correlation = np.corrcoef(*drops)[0, 1]
print(
    f"{drops.shape[1]} patches erased: correlation of predicted and measured drop {correlation:.2f}"
)

size = {name: np.abs(maps[name]) for name in names}  # without the sign
same_image = np.mean(
    [np.corrcoef(size[name].reshape(4, -1))[np.triu_indices(4, 1)].mean() for name in names]
)
print(f"size of the gradient, two classes of one image: mean correlation {same_image:.2f}")

# %% [markdown]
# The first line confirms the slope: for a change of 0.001, the prediction is right to a few per cent. (The pixels of an
# image file have steps of 1/255 = 0.004.) At 0.01, the prediction is already off by up to a half. At 0.1 it is useless:
# for two of the images, the logit even falls. The logit of a trained network is far from a straight line, even between
# two images that look the same to us.
#
# The patches confirm the limit: what the slope predicts for erasing a patch has nothing to do with what erasing does.
# The maps of different classes also look alike, because all of them pass back through the same layers.
#
# So read such a map as an answer to one question only: *what would a tiny change do?* It is the right tool to train a
# network and to attack it. It does not show why the network gave its answer. For other maps and how far to trust them,
# see [tutorial 6](06_attention_maps.md) and the page on [faithfulness](../faithfulness.md).
#
# ## Exercises
#
# **1.** The MLP uses SiLU, $y = x\, \sigma(x)$ with $\sigma(x) = 1 / (1 + e^{-x})$. Derive its backward pass from the
# product rule. Use $\sigma' = \sigma (1 - \sigma)$.

# %% solution
x, dy = rng.normal(size=(2, 4, 5))
sigma = 1 / (1 + np.exp(-x))
by_hand = dy * sigma * (1 + x * (1 - sigma))  # sigma + x sigma', factored
assert np.allclose(by_hand, backward.silu_vjp(dy, x))
assert np.allclose(by_hand, central(lambda x: x / (1 + np.exp(-x)), x, dy), atol=1e-8)

# %% [markdown]
# **2.** Derive $dZ = P - T$ for $\ell = -\sum_c T_c \log P_c$ with $P = \operatorname{Softmax}(Z)$, using the softmax
# rule of part 2. Why does $dZ$ sum to zero? Where is it zero if the labels are smoothed with $\alpha = 0.1$?

# %% solution
Z, T = rng.normal(size=10), np.full(10, 0.01)
T[3] = 0.91  # the target of class 3, smoothed
P = reference.softmax(Z[None])[0]
by_softmax = softmax_back(-T / P, P)  # dP = -T / P
assert np.allclose(by_softmax, P - T)
assert np.allclose(P - T, backward.cross_entropy_vjp(Z, 3, smoothing=0.1))
assert abs((P - T).sum()) < 1e-15  # both sum to one: adding a number to all logits changes nothing
assert np.allclose(
    backward.cross_entropy_vjp(np.log(T), 3, smoothing=0.1), 0
)  # at P = T, not at P = 1

# %% [markdown]
# **3.** Suppose that windows overlap: 3 tokens wide, a new one every 2 tokens, on a row of 7 tokens. Each window is
# replaced by its mean. What is the backward pass? Which tokens get more than the others?

# %% solution
starts = [0, 2, 4]
matrix = np.array(
    [[1 / 3 if start <= n < start + 3 else 0 for n in range(7)] for start in starts]
)  # (3, 7)
x, dy = rng.normal(size=7), rng.normal(size=3)
assert np.allclose(matrix.T @ dy, central(lambda x: matrix @ x, x, dy), atol=1e-8)
received = matrix.T @ np.ones(3)
assert np.allclose(
    received, np.array([1, 1, 2, 1, 2, 1, 1]) / 3
)  # tokens 2 and 4 are in two windows, so two terms

# %% [markdown]
# **4.** Would you notice a forgotten path by training? Cut the path from the queries back to $A_1$ in PyTorch
# (`detach`), and train again from the same start with the same batches. (The weights of the queries still learn.)


# %% solution
def without_path_of_queries(_):
    """The small network; nothing comes back from the queries to A1."""
    network = hatnet.HATNet(small)
    for name, layer in network.named_modules():
        if name.endswith("global_attention.q"):
            layer.register_forward_pre_hook(lambda _, inputs: inputs[0].detach())
    return network


with tempfile.TemporaryDirectory() as folder, join("cpu") as processes:
    training = Training(recipe, data, Path(folder), processes, build=without_path_of_queries)
    training.learner.model.double()
    training.learner.average.model.double()
    batches = ((images.double(), labels) for images, labels in training.batches)
    broken = np.array([training.learner.take_step(batches).item() for _ in range(steps)])
off = np.abs(broken - losses["PyTorch"])
print(
    f"mean loss of the last 10 steps: right {losses['PyTorch'][-10:].mean():.3f}, broken "
    f"{broken[-10:].mean():.3f}"
)
print(
    f"difference of the losses: {off[0]:.0e} in step 1, {off[1]:.0e} in step 2, at most "
    f"{off.max():.2f}"
)
assert off[0] == 0  # the forward pass is unchanged
assert (
    off[1] > 1e-9
)  # a comparison of numbers notices at once: the two right trainings agree to 1e-14
assert broken[-10:].mean() < 1.7  # and it learns, as if nothing were wrong

# %% [markdown]
# ## The claims of this page
#
# They are checked whenever the page is built.

# %% [fold: The checks]
assert differences["reference"] < 1e-14
assert differences["autograd"] < 1e-13
assert differences["differences"] < 1e-8
assert min(forgotten.values()) > 0.1  # each path matters
assert max(forgotten, key=forgotten.get) == "sum"
assert min(forgotten, key=forgotten.get) == "queries"
assert losses["NumPy"][-10:].mean() < 0.7 * losses["NumPy"][:5].mean()  # it learns
assert apart.max() < 1e-9
assert max(others.values()) < 1e-9
assert np.abs(measured[0.001] - 1).max() < 0.1  # the gradient is the slope,
assert np.abs(measured[0.1] - 1).min() > 0.5  # but only nearby,
assert abs(correlation) < 0.3  # and not the contribution of a patch
print("all checks passed")

# %% [markdown]
# ## What to remember
#
# - A step needs one function backward: it receives `dy` and returns `dx`. It never builds a Jacobian.
# - A matrix becomes its transpose: gather becomes scatter, a mean becomes equal shares.
# - Where an arrow splits on the way forward, gradients are added on the way back.
# - What cannot change the output gets no gradient: a number added to a row of scores, a number added to a whole map.
# - A wrong gradient often still learns. Compare it with central differences.
#
# Read on in `reference/backward/`: one file for each file of the forward pass, with the same functions in the same
# order. The concept pages show both side by side.
