# %% [markdown]
# # Attention maps, and when they lie
#
# **The question.** A network answers "cat". Where did it look? Attention seems to give the answer directly, so draw its
# weights: near, far, and both together, for one token on the eye. It looks like an explanation. But the network below
# has *random* weights. It knows nothing.

# %% [fold: Imports]
"""Tutorial 6: from one softmax row to a map over pixels, and what maps cannot show."""

import copy
import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional

import hatnet
import reference
import reference.attention_maps as by_hand
from hatnet.data import open_data
from hatnet.data.images import balanced
from hatnet.data.photo import load_photo, normalise
from hatnet.equivalence import TOLERANCES, randomise, relative_error
from hatnet.maps import attention_maps
from hatnet.maps.explorer import stored_numbers
from hatnet.training.initial_weights import before_training
from hatnet.weights.source import find_source

torch.set_num_threads(1)
np.set_printoptions(precision=3, suppress=True, linewidth=110)
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"  # Okabe and Ito's
LIMIT = TOLERANCES[torch.float64]


# %% [fold: Code of this figure]
def show(axes, picture, title, values=None, side=1, outlines=(), largest=None, colours="viridis"):
    """Draw a picture, or a map with cells of `side` pixels, and squares around tokens."""
    height, width = picture.shape[:2]
    if values is None:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    else:
        rows, columns = values.shape
        place = (0, columns * side, rows * side, 0)
        axes.imshow(values, cmap=colours, vmin=0, vmax=largest, extent=place)
    for (row, column), size, colour in outlines:
        for line, shade in ((3.5, "white"), (1.8, colour)):
            style = {"fill": False, "edgecolor": shade, "linewidth": line}
            axes.add_patch(plt.Rectangle((column, row), size, size, **style))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def box(config, stage, token, window=True):
    """The outlines of a token and its window, in pixels."""
    stride, G1 = config.stages[stage].stride, config.stages[stage].grid_size
    square = [((token[0] * stride, token[1] * stride), stride, ORANGE)]
    if window and G1:
        corner = token[0] // G1 * G1 * stride, token[1] // G1 * G1 * stride
        square.append((corner, G1 * stride, BLUE))
    return square


photo = load_photo()
tiny = hatnet.create_model("tiny")
randomise(tiny, seed=0)
eye = attention_maps(tiny, torch.from_numpy(normalise(photo)).float())
token = eye.token_at(x=76, y=84, stage=1)
near, far = eye.local(1, 1, token, head=0), eye.global_(1, 1, token, head=0)
shares = eye.composed(1, 1, token, head=0)

figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
figure.set_label(
    "Four pictures of a cat. The first shows a token at its eye in a window of 7 x 7 tokens. The "
    "second shows its "
    "local weights, which fill only the window. The third shows its global weights, 7 x 7 large "
    "cells over the whole "
    "photo. The fourth is the composed map over all tokens, with the window brighter than the rest."
)
cat = photo.transpose(1, 2, 0)
marks = box(tiny.config, 1, token)
show(axes[0], cat, "a token in its window", outlines=marks)
show(axes[1], cat, "near: 7 x 7 tokens", near, 8, marks)
show(axes[2], cat, "far: 7 x 7 cells", far, 32, marks)
others = np.where(
    np.arange(shares.size).reshape(shares.shape) == token[0] * 28 + token[1], 0, shares
)
show(
    axes[3],
    cat,
    "near and far together",
    shares,
    8,
    marks,
    largest=np.quantile(others, 0.97),
)
plt.show()

# %% [markdown]
# So what exactly do we draw? A block of HAT-Net has two kinds of weights, there are three or four stages of blocks, and
# tokens change their size on the way. How do the pieces become *one* map over pixels? And when does that map show why
# the network gave its answer?
#
# **Predict before you read on**, and write down four answers. Parts 2, 6 and 7 check them.
#
# 1. A block adds its input back twice; we called that a *residual* in tutorial 1. So there are five paths from its
#    input to a token of its output: two residuals, the window, the merged cells, and a window followed by the cells. If
#    each counts the same, how much of a token's map is the token itself, at least?
# 2. A trained network is run with $G_2 = 1$ instead of 4, so its global map becomes 16 times as fine. On how many of
#    250 images does its answer change?
# 3. In the same network we make *all* attention uniform: every key gets the same weight, everywhere. On how many images
#    does its answer stay the same?
# 4. You change an image so little that you can hardly see it, but the answer changes. Does the map change?
#
# ## 1. One softmax row
#
# Everything below consists of rows like this one. Take four tokens in a line, one channel, and no matrices: the query
# is 1, the keys are 2, 1, 0, 0. The scores are the products. Their softmax is the row: it is positive and sums to one.
#
# ??? question "Predict: what share goes to the first token? ($e \approx 2.72$, $e^2 \approx 7.39$)"
#     $7.39 / (7.39 + 2.72 + 1 + 1) = 0.61$.

# %%
query, keys = 1.0, np.array([2.0, 1.0, 0.0, 0.0])
row = np.exp(query * keys) / np.exp(query * keys).sum()
print("row:", row, " sum:", row.sum())
assert np.allclose(row, [0.610, 0.225, 0.083, 0.083], atol=5e-4)

# %% [markdown]
# A row shows how the query mixes **values**. It shows nothing about the values themselves: remember that for part 7.
#
# ## 2. One block: five paths to a token
#
# Keep the four tokens, now with windows of $G_1 = 2$ and cells of $G_2 = 2$. The rows of all windows fill a matrix $L$,
# which is zero outside the windows. The rows over the two merged cells fill $G$. Merging averages (Eq. 10), so it is a
# matrix too, $P$. The product $G P$ then shares each cell's weight equally among its tokens.

# %%
L = np.array(
    [[3 / 4, 1 / 4, 0, 0], [1 / 2, 1 / 2, 0, 0], [0, 0, 1 / 2, 1 / 2], [0, 0, 1 / 2, 1 / 2]]
)
G = np.array([[1 / 5, 4 / 5], [1 / 2, 1 / 2], [1 / 2, 1 / 2], [1 / 2, 1 / 2]])
P = by_hand.pooling_matrix((1, 4), G2=2)
I = np.eye(4)  # noqa: E741 the identity has no other name
print("P:", *P, "row 0 of G P:", (G @ P)[0], sep="\n")

# %% [markdown]
# Follow the values through the equations, with norms and matrices left out:
#
# - Eq. 9: the windows give $A_1 = L X + X = (I + L) X$.
# - Eq. 10-13: the merged tokens give $A_2 = G P A_1 = G P (I + L) X$.
# - Eq. 14: the block gives $A_1 + A_2 + X$.
#
# Multiply this out. There are five paths from $X$ to the output, each a matrix whose rows sum to one. If each counts
# the same, we divide by five:
#
# $$F = \tfrac{1}{5} \left[\, 2I + L + G P + G P L \,\right]$$
#
# This answers question 1: two of the five paths are residuals, so at least **two fifths** of a token's map are the
# token itself. Row 0 by hand: $2I$ gives $(2, 0, 0, 0)$, $L$ gives $(0.75, 0.25, 0, 0)$, $G P$ gives $(0.1, 0.1, 0.4,
# 0.4)$, and $G P L$, the row of $G P$ taken through the windows, gives $(0.125, 0.075, 0.4, 0.4)$.

# %%
F = by_hand.composed_matrix(L, G, P)
print("row 0 of F:", F[0], " sum:", F[0].sum())
assert np.allclose(F[0], np.array([2.975, 0.425, 0.8, 0.8]) / 5)

# %% [markdown]
# Does the block really *do* that? Raise each token by one in turn, with the weights held fixed, and see how far each
# output moves. If $5 F$ is right, output $i$ moves by $5 F_{ij}$ when token $j$ moves by one.


# %%
def block(x):
    """Eq. 9-14 with fixed weights, and norms, values and projection the identity."""
    A1 = L @ x + x  # Eq. 9
    A2 = G @ (P @ A1)  # Eq. 10-13
    return A1 + A2 + x  # Eq. 14


x = np.array([1.0, -2.0, 0.5, 3.0])
moved = np.zeros((4, 4))
for j in range(4):
    nudged = x.copy()
    nudged[j] += 1
    moved[:, j] = block(nudged) - block(x)
print(moved)
assert np.allclose(moved, 5 * F)

# %% [markdown]
# So the map is exact in one sense: it shows which inputs reach an output, and how much, **if values passed unchanged**.
# In the network they do not. Norms, $W^v$ and $W^p$ scale and rotate them, and the map leaves that out.
#
# ## 3. The fast version, on a photo
#
# Forming $L$, $G P$ and $F$ as whole matrices would undo the savings of hierarchical attention. `hatnet.maps` keeps the
# softmax rows of one forward pass and multiplies one row at a time. The first figure shows HAT-Net Tiny on the bundled
# photo; the query is the token at the cat's right eye, in stage 1. Colours run from zero (dark) to the largest weight
# of each map (bright), and in the last map the token itself is off the scale. In numbers:


# %%
print(
    f"token {token}: local {near.shape}, {np.count_nonzero(near)} of them not zero; global "
    f"{far.shape}"
)
print(
    f"sums: {near.sum():.6f}, {far.sum():.6f}, {shares.sum():.6f}; composed, itself: "
    f"{shares[token]:.1%}"
)
assert shares[token] > 2 / 5
stored, dense = stored_numbers(tiny.config, 224, 224)
print(
    f"softmax weights of the network: {stored:,}; were all attention plain: {dense:,}, "
    f"{dense / stored:.0f} times"
)

# %% [markdown]
# Global maps are drawn as cells because that is what they are. Blurring them into a smooth cloud would show detail that
# does not exist: global attention cannot distinguish the tokens of a cell (tutorial 2).
#
# **Verify.** Compare with the NumPy reference, which forms all matrices. The network is the trained one that comes with
# the package, and the image is one of its test images:

# %%
source = find_source("fashion-mnist")
trained, classes = source.model, source.classes
print(source.words)
test = open_data("fashion-subset").test
chosen = balanced(test.labels, per_class=25)
pictures, labels = test.pixels[chosen].float() / 255, test.labels[chosen]  # (250, 1, 28, 28)
images = (pictures - source.mean[0]) / source.std[0]
shown = pictures[:, 0].numpy()
side = trained.config.stages[0].stride  # of a stem token, in pixels

exact = copy.deepcopy(trained).double()
trace = {}
reference.hat_net(images[0].double().numpy(), hatnet.to_numpy(exact), exact.config, trace)
maps64 = attention_maps(exact, images[0].double())
for stage, block_ in ((0, 1), (1, 0), (2, 1)):
    slow = by_hand.block_matrix(
        trace, exact.config.stages[stage], f"stages.{stage}.blocks.{block_}"
    )
    error = relative_error(maps64.dense(stage, block_), slow)
    print(f"stage {stage}, block {block_}: F is {slow.shape}, largest difference {error:.0e}")
    assert error < LIMIT
slow = by_hand.to_shares(by_hand.rollout(trace, exact.config, stage=2, block=1).mean(axis=0))
assert relative_error(maps64.rollout().ravel(), slow) < LIMIT

# %% [markdown]
# ## 4. Rollout: what changes with depth
#
# The input of a block is the output of the block before it. So the map through two blocks is a product, $F_2 F_1$. By
# hand, with our toy $F$ for both:

# %%
rows = [np.linalg.matrix_power(F, blocks)[0] for blocks in (1, 2, 4, 8)]
for blocks, row in zip((1, 2, 4, 8), rows, strict=True):
    print(f"{blocks} blocks: token 0 takes {row}")
assert np.allclose(rows[1], F[0] @ F)
assert all(a[0] > b[0] for a, b in itertools.pairwise(rows))  # the share of the token itself falls

# %% [markdown]
# Each block mixes, so with depth all rows approach the same row. This is a property of products of matrices with
# positive entries: **it would happen with any weights.** A map that spreads with depth reveals nothing about a network.
#
# Between stages a 3x3 convolution of stride 2 makes larger tokens. It counts by its receptive field, with shares 1/4,
# 1/2, 1/4 along each axis. (Equal shares would draw a grid over every map: with stride 2, some tokens are seen by two
# outputs and others by one.) MLPs count as if they left everything in place. Here is one pixel of a boot, after each
# of the six blocks of the trained network:

# %% [fold: Code of this figure]
boot = next(i for i in range(250) if classes[labels[i]] == "ankle boot")
look = attention_maps(trained, images[boot])
x, y = 18, 18
depths = [(stage, b) for stage in range(3) for b in range(trained.config.stages[stage].depth)]


def effective(map_):
    """Effective number of tokens, e to the entropy: 1 for a single token, all if uniform."""
    map_ = map_.reshape(*map_.shape[:-2], -1)
    return np.exp(-(map_ * np.log(np.maximum(map_, 1e-12))).sum(axis=-1))


figure, axes = plt.subplots(1, 7, figsize=(14, 2.6), layout="constrained")
figure.set_label(
    "A boot with a query token, and six rollout maps of it, one for each block. The first is "
    "strongest in its window. "
    "Each following map is wider, and the last two cover most of the picture."
)
show(
    axes[0],
    shown[boot],
    "a token of the boot",
    outlines=box(trained.config, 0, look.token_at(x, y, 0)),
)
for ax, (stage, b) in zip(axes[1:], depths, strict=True):
    spread = look.rollout(stage, b, look.token_at(x, y, stage))
    show(
        ax,
        shown[boot],
        f"stage {stage}, block {b}: {effective(spread):.0f} of {spread.size}",
        spread,
        side,
        largest=np.quantile(spread, 0.98),
    )
plt.show()

# %% [markdown]
# The numbers above the maps are an *effective number of tokens*. It is $e$ to the **entropy** of the map,
# $-\sum_m p_m \ln p_m$, which measures how widely the shares $p_m$ are spread. A map with a single token has 1, one of
# 49 equal shares has 49. We compute it for all 250
# images, before and after training. The seed of the training is known, so "before" means the very weights that it
# started from.

# %% [fold: Code of this figure]
untrained = before_training(source.about, trained.config)
looks = {
    "before training": attention_maps(untrained, images),
    "trained": attention_maps(trained, images),
}
wide = {
    name: [effective(one.rollout(s, b, one.token_at(x, y, s))).mean() for s, b in depths]
    for name, one in looks.items()
}


def evenness(weights):
    """The mean entropy of softmax rows, as a share of the entropy of a uniform row."""
    weights = weights.astype(np.float64)
    there = (weights > 0).sum(axis=-1)  # keys beyond the border of the map have weight 0
    entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(axis=-1)
    return float((entropy[there > 1] / np.log(there[there > 1])).mean())


kinds = {"local": ("local_weights",), "global": ("global_weights", ".weights")}
even = {
    (name, kind): [
        next(
            (
                evenness(w)
                for key, w in one.weights.items()
                if key.startswith(f"stages.{s}.blocks.{b}.") and key.endswith(ends)
            ),
            np.nan,
        )
        for s, b in depths
    ]
    for name, one in looks.items()
    for kind, ends in kinds.items()
}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
figure.set_label(
    "Left: the effective number of stem tokens in a rollout against depth, for the trained "
    "network and the same "
    "network before training. Both rise from block to block. Right: how uniform softmax rows "
    "are. Before training "
    "all rows are nearly uniform. Trained global rows are a little less so, and trained local "
    "rows less with each "
    "block, in block 1.1 far less."
)
for name, colour in (("before training", GREY), ("trained", ORANGE)):
    left.plot(range(6), wide[name], marker="o", color=colour, label=name)
    right.plot(
        range(6),
        even[name, "local"],
        marker="s",
        linestyle="--",
        color=colour,
        label=f"local, {name}",
    )
    right.plot(
        range(6), even[name, "global"], marker="o", color=colour, label=f"global or plain, {name}"
    )
for ax in (left, right):
    ax.set(xticks=range(6), xlabel="up to which block" if ax is left else "block")
    ax.set_xticklabels([f"{s}.{b}" for s, b in depths])
    ax.legend(frameon=False, fontsize=8)
left.set(
    title="Rollout spreads with depth, trained or not",
    ylabel="effective number of tokens",
    ylim=(0, spread.size),
)
right.set(
    title="Training shows in the rows", ylabel="entropy of a row, 1 = uniform", ylim=(0, 1.05)
)
plt.show()
for name, values in wide.items():
    print(f"{name:16s} effective tokens:", np.round(values, 1))

# %% [markdown]
# Read both plots together. **Rollouts** spread equally far in both networks: residuals and products decide that, not
# learning. The **rows** differ, the local ones a lot: training made them selective. If you want to know what a network
# has learned to look at, look at rows first, block by block and head by head, and at the product last.
#
# ## 5. For a class
#
# Rollout from the mean of all tokens shows what reached the classifier. It is one map for all ten answers. For a class,
# we take the class's **logit**, its score before the last softmax, and its gradient (tutorial 1): how much the logit
# changes if a weight grows a little. We multiply each weight by its gradient, and keep only positive products:
# the *relevance* for the class. Then we compose and roll out as before, and subtract the residuals' contribution.

# %% [fold: Code of this figure]
garments = ("trouser", "sandal", "bag", "ankle boot")
some = [next(i for i in range(250) if classes[labels[i]] == name) for name in garments]
logits = torch.from_numpy(looks["trained"].logits)
first, second = logits.topk(2, dim=1).indices.T.tolist()
class_maps = {
    "answer": looks["trained"].class_map(first),
    "second choice": looks["trained"].class_map(second),
    "before training": looks["before training"].class_map(),
}
rolled = {name: one.rollout() for name, one in looks.items()}

figure, axes = plt.subplots(len(some), 6, figsize=(12.5, 8.6), layout="constrained")
figure.set_label(
    "Four test images, each with five maps. Rollouts before and after training are broad, with "
    "single bright tokens. "
    "Class maps for the network's answer and for its second choice are bright in a few spots on "
    "the garment or beside "
    "it, and many of the spots are the same. The class map before training is bright on the "
    "garment."
)
for line, i in zip(axes, some, strict=True):
    show(line[0], shown[i], f"{classes[labels[i]]}: answer {classes[first[i]]}")
    show(line[1], shown[i], "rollout, before training", rolled["before training"][i], side)
    show(line[2], shown[i], "rollout, trained", rolled["trained"][i], side)
    for ax, (name, all_maps) in zip(line[3:], class_maps.items(), strict=True):
        said = {
            "answer": f"for {classes[first[i]]}",
            "second choice": f"for {classes[second[i]]}",
        }.get(name, name)
        most = np.quantile(all_maps[i], 0.99)
        show(ax, shown[i], f"class map: {said}", all_maps[i], side, largest=most, colours="cividis")
plt.show()


# %% [fold: Code of the correlations]
def likeness(these, those):
    """The mean correlation of maps, image by image."""
    return float(
        np.mean(
            [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(these, those, strict=True)]
        )
    )


garment = functional.avg_pool2d(pictures, side)[
    :, 0
].numpy()  # the brightness of each stem token: on the garment or not
second_like_first = likeness(class_maps["answer"], class_maps["second choice"])
pretty = {name: likeness(class_maps[name], garment) for name in ("answer", "before training")}
print(f"class maps of answer and second choice: correlation {second_like_first:.2f}")
print(
    f"class map against the garment: trained {pretty['answer']:.2f}, before training "
    f"{pretty['before training']:.2f}"
)

# %% [markdown]
# Here are two warnings, in numbers. The maps for the answer and for the *wrong* second choice have much in common. And
# the network that has learned **nothing** has maps that follow the garment even better: the garment is where pixels are
# bright, so it is where anything at all happens. A map that looks right does not prove that a network works. Compare it
# with the untrained network before you believe it.
#
# ## 6. The effect of $G_1$ and $G_2$ on the picture
#
# Neither has parameters, so the trained network runs with other values too. We keep the weights, the image and the
# token, and look at the second block of stage 0 (28 x 28 tokens, one per pixel):


# %% [fold: Code of this figure]
def other(G1, G2):
    """The trained network with other windows and cells in stage 0."""
    grid_sizes, pool_sizes = (G1, trained.config.grid_sizes[1]), (G2, trained.config.pool_sizes[1])
    return hatnet.create_model(
        "micro", pretrained="fashion-mnist", grid_sizes=grid_sizes, pool_sizes=pool_sizes
    )


def answers(model):
    """The class of each of the 250 images."""
    with torch.no_grad():
        return model(images).argmax(dim=1)


trained_answers = answers(trained)
G1, G2 = trained.config.grid_sizes[0], trained.config.pool_sizes[0]
token = look.token_at(x, y, 0)
same = {}

figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
figure.set_label(
    "Eight maps of one token of a boot. Above, local maps in windows of 4, 7, 14 and 28 tokens. "
    "Below, global maps in "
    "cells of 1, 2, 4 and 7 tokens: from 28 x 28 fine cells to 4 x 4 coarse ones, the same "
    "weights each time."
)
for ax, g in zip(axes[0], (4, 7, 14, 28), strict=True):
    model = other(g, G2)
    same[f"G1 = {g}"] = int((answers(model) == trained_answers).sum())
    show(
        ax,
        shown[boot],
        f"$G_1$ = {g}: {same[f'G1 = {g}']} of 250 answers stay",
        attention_maps(model, images[boot]).local(0, 1, token),
        side,
        box(model.config, 0, token),
    )
for ax, g in zip(axes[1], (1, 2, 4, 7), strict=True):
    model = other(G1, g)
    same[f"G2 = {g}"] = int((answers(model) == trained_answers).sum())
    cells = attention_maps(model, images[boot]).global_(0, 1, token)
    title = f"$G_2$ = {g}: {same[f'G2 = {g}']} of 250 answers stay"
    show(ax, shown[boot], title, cells, side * g, box(model.config, 0, token, window=False))
plt.show()
print(f"trained with G1 = {G1}, G2 = {G2}; of 250 answers stay:")
print("  ".join(f"{name}: {count}" for name, count in same.items()))

# %% [markdown]
# The count at G2 = 1 answers question 2. The sharpness of a global map is a setting, not something that the network has
# learned. You can change the picture from fine to coarse, and the answers hardly change.
#
# **The border.** All of these values divide 28. With $G_2 = 8$ the last cells hold fewer tokens. Let all attention be
# uniform, and share the weight of each cell among its tokens:
#
# ??? question "Predict: 28 x 28 tokens, $G_2 = 8$. How much brighter is a token in the corner cell than one inside?"
#     All 16 cells get 1/16. Inside, a cell has 64 tokens: 1/1024 each. The corner has 4 x 4: 1/256 each, **four times**
#     as much, although attention does not prefer it.

# %%
each_cell = np.full((1, 16), 1 / 16)
each_token = (each_cell @ by_hand.pooling_matrix((28, 28), G2=8)).reshape(28, 28)
inside, edge, corner = each_token[0, 0], each_token[0, -1], each_token[-1, -1]
print(f"inside 1/{1 / inside:.0f}, at the edge 1/{1 / edge:.0f}, in the corner 1/{1 / corner:.0f}")
assert np.isclose(corner / inside, 4)

# %% [fold: Code of this figure]
figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
figure.set_label(
    "Uniform attention, drawn twice. As cells, everything has the same colour. As tokens, the "
    "right and the lower "
    "edge are brighter, and the corner is brightest."
)
show(left, shown[boot], "uniform, as cells", each_cell.reshape(4, 4), 8, largest=1 / 8)
show(right, shown[boot], "uniform, as tokens", each_token)
plt.show()

# %% [markdown]
# The picture is still true: more of the value of a token in a small cell *does* reach the query. But this is geometry,
# not selection. Draw cells where you mean cells.
#
# ## 7. When the map lies
#
# ### A weight on nothing
#
# Back to rows. The output is weights times values, but the row shows only the weights. Take two tokens with weights 0.9
# and 0.1 and values 0 and 10:

# %%
weights, values = np.array([0.9, 0.1]), np.array([0.0, 10.0])
given = weights * values
print(f"output {weights @ values:.0f}, contributions of the tokens: {given}")
assert given[0] == 0  # from the token with 90 per cent of the attention
assert given[1] == weights @ values == 1
for any_weights in ([0.9, 0.1], [0.5, 0.5], [0.0, 1.0]):
    assert np.isclose(
        np.array(any_weights) @ np.array([3.0, 3.0]), 3
    )  # with equal values the row does not matter

# %% [markdown]
# A network can do that too. We set the values of global attention to zero in one block of the trained network. Now
# *nothing* flows from the cells, but the map of the cells is the same to the last bit:

# %%
silent = copy.deepcopy(trained)
attention = silent.stages[0].blocks[1].attention
with torch.no_grad():
    for parameter in attention.global_attention.kv.parameters():
        parameter[len(parameter) // 2 :] = 0  # the values' half
muted, traced = attention_maps(silent, images[boot]), {}
with torch.inference_mode():
    silent(images[boot : boot + 1], traced)
print(
    "largest value that flows from the cells:",
    traced["stages.0.blocks.1.attention.global"].abs().max().item(),
)
print(f"the cells still have {muted.parts(0, 1, token).cells.sum():.0%} of the composed map")
assert traced["stages.0.blocks.1.attention.global"].abs().max() == 0
assert np.array_equal(muted.global_(0, 1, token), look.global_(0, 1, token))
assert np.array_equal(muted.composed(0, 1, token), look.composed(0, 1, token))

# %% [markdown]
# ### Attention that does not matter
#
# Set all queries to zero. Then all scores are zero and every row is uniform: the maps are gone. Then go further and
# remove the output of attention, so that only residuals, MLPs and convolutions are left.


# %%
def without(model, *names):
    """A copy with these parts of all attention layers set to zero; of qkv, the queries only."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            part = name.split(".")[-2]
            if ".attention." in name and part in names:
                parameter[: len(parameter) // 3 if part == "qkv" else None] = 0
    return model


even_model, none_model = without(trained, "qkv", "q"), without(trained, "projection")
flat = attention_maps(even_model, images[boot]).global_(0, 1, token)
assert np.allclose(flat, 1 / flat.size)
kept = {}
for name, model in (
    ("trained", trained),
    ("all rows uniform", even_model),
    ("no attention", none_model),
):
    found = answers(model)
    kept[name] = int((found == trained_answers).sum())
    print(
        f"{name:16s} right on {int((found == labels).sum())} of 250, the trained network's "
        f"answer on {kept[name]}"
    )

# %% [markdown]
# The last count of the second line answers question 3. It is the most important number on this page. In this network
# the *selection* that the maps show decides few answers. Convolutions and MLPs do most of the work, and a map of
# attention cannot show that. (A larger network on larger images may differ: the same two lines will tell you.)
#
# ### Another answer, the same map
#
# Question 4. Take one step along the sign of the gradient, two hundredths of the range from black to white, and some
# answers change. How much do the maps change, compared with the difference between two images?

# %% [fold: Code of the experiment and its figure]
half, slopes = images[::2], []
for some_images, said in zip(half.split(25), trained_answers[::2].split(25), strict=True):
    some_images.requires_grad_()
    slopes += torch.autograd.grad(functional.cross_entropy(trained(some_images), said), some_images)
changed = half + 0.02 / source.std[0] * torch.cat(slopes).sign()
attacked = attention_maps(trained, changed)
flipped = np.flatnonzero(attacked.logits.argmax(axis=1) != trained_answers[::2].numpy())


def apart(these, those):
    """Half the sum of absolute differences: the share of a map that has moved."""
    return 0.5 * np.abs(these - those).sum(axis=(-2, -1)).mean()


before, after = rolled["trained"][::2], attacked.rollout()
moved_by_attack = apart(before[flipped], after[flipped])
between_images = apart(before, np.roll(before, len(before) // 2, axis=0))
print(
    f"{len(flipped)} of {len(before)} answers change; there {moved_by_attack:.1%} of the map moves,"
)
print(f"between two images {between_images:.1%}")

one = flipped[0]
now = classes[int(attacked.logits[one].argmax())]

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
figure.set_label(
    "The same garment twice, hardly different to the eye, with different answers. Beside each is "
    "its rollout map: the "
    "two maps look the same."
)
after_step = (changed[one, 0].numpy() * source.std[0] + source.mean[0]).clip(0, 1)
top = max(before[one].max(), after[one].max())
show(axes[0], shown[2 * one], f"answer: {classes[trained_answers[2 * one]]}")
show(axes[1], shown[2 * one], "its rollout", before[one], side, largest=top)
show(axes[2], after_step, f"after one small step: {now}")
show(axes[3], after_step, "its rollout", after[one], side, largest=top)
plt.show()

# %% [markdown]
# ## 8. Exercises
#
# **1. Another block.** Leave out the local residual, the $+ X$ of Eq. 9. Which paths are left, how much does each
# count, and what is row 0 of the toy's map?

# %% solution
paths = (I + L + G @ P @ L) / 3  # A1 = L X, A2 = G P L X, out = A1 + A2 + X
assert np.allclose(paths[0], np.array([1.875, 0.325, 0.4, 0.4]) / 3)
assert np.allclose(paths.sum(axis=1), 1)

# %% [markdown]
# **2. The border, corrected.** By what do you have to multiply the map over tokens so that uniform attention looks
# uniform for any $G_2$? What do you then draw?

# %% solution
for g in (2, 3, 4, 5):
    merging = by_hand.pooling_matrix((14, 14), g)
    cells = len(merging)
    tokens_of_cell = (merging > 0).sum(axis=1)  # of each cell
    shared = np.full(cells, 1 / cells) @ merging
    drawn = shared * (
        tokens_of_cell @ (merging > 0)
    )  # times the number of tokens in the token's cell
    assert np.allclose(
        drawn, 1 / cells
    )  # the weight of the cell: the same picture as drawn in cells

# %% [markdown]
# **3. Heads.** Average the weights of two heads and compose them. Is the result the mean of their composed maps? Look
# at the formula before you compute. Where do the two differ?

# %% solution
name, size = "stages.1.blocks.0.attention", maps64.layouts[1].map
stage_1 = trained.config.stages[1]
Ls = [
    by_hand.local_matrix(trace[f"{name}.local_weights"][:, :, h], size, stage_1.grid_size)
    for h in range(2)
]
Gs, P1 = trace[f"{name}.global_weights"], by_hand.pooling_matrix(size, stage_1.pool_size)
mean_of_maps = np.mean([by_hand.composed_matrix(Ls[h], Gs[h], P1) for h in range(2)], axis=0)
map_of_means = by_hand.composed_matrix(np.mean(Ls, axis=0), Gs.mean(axis=0), P1)
assert not np.allclose(
    mean_of_maps, map_of_means
)  # G P L is a product of two matrices that depend on the head
assert np.allclose(
    mean_of_maps, maps64.dense(1, 0)
)  # ours is the mean of maps: windows feed their own head's cells
crossed = sum(Gs[h] @ P1 @ Ls[1 - h] - Gs[h] @ P1 @ Ls[h] for h in range(2)) / 4
assert np.allclose(map_of_means - mean_of_maps, crossed / 5)  # the difference is only in that term

# %% [markdown]
# ## The claims, checked once more
#
# These checks should pass for another training run of the same network, too.

# %% [fold: The checks]
assert stored * 10 < dense  # hierarchical attention has few weights
assert all(
    np.diff(values).min() > 0 for values in wide.values()
)  # rollout spreads with depth, trained or not
assert min(even["trained", "local"][:4]) < min(
    even["before training", "local"][:4]
)  # training makes rows selective
assert pretty["before training"] > pretty["answer"]  # maps follow the garment even without training
assert second_like_first > 0.3  # and are similar for other classes
assert min(same.values()) > 0.8 * 250  # G1 and G2 change the picture, but hardly the answer
assert kept["all rows uniform"] > 0.6 * 250  # without maps, most answers stay
assert len(flipped) >= 5
assert moved_by_attack < between_images / 2  # the answer changes, the map hardly does

# %% [markdown]
# ## What to remember
#
# - A map is a row of a product of matrices. A block has five paths to a token, and two of them are the token itself.
# - $G_2$ decides how fine a map can be. Draw cells as cells.
# - Rollout spreads with depth, whatever the weights are. Rows, block by block, show what was learned.
# - Before you believe a map, compare it with the map of the untrained network, with the map of another class, and with
#   the answers when attention is uniform. The page on [faithfulness](../faithfulness.md) does this over many images.
