# %% [markdown]
# # Where the hierarchy pays
#
# H-MHSA has two halves. Near attention compares the tokens of a window; far attention compares a token with averages
# of large cells. On small images a network does as well with either half, or with none. Here is a question that
# neither half can answer alone. We train a network with both halves and one with far attention alone, and then look
# into them: what do they attend to, and which of their attentions carries the answer?

# %% [fold: Imports]
"""Tutorial 11: a question that needs near and far attention, two networks, their maps, and cuts."""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from torch import Tensor

from hatnet.attention import attention_kernel, fused_attention
from hatnet.data.images import UNKNOWN
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.network import Backbone
from hatnet.studies.ablation.matching import build
from hatnet.studies.ablation.questions import open_question
from hatnet.studies.ablation.record import Settings
from hatnet.training import Monitor, Processes, Training

torch.set_num_threads(1)
NEAR, FAR = "#0072B2", "#D55E00"
WINDOW, CELL, TOKEN = 8, 16, 4  # G1 and G2 in tokens, and the pixels of a token

settings = Settings.of("question-both")
data = open_question("both")


# %% [fold: Code of this figure]
def draw_scene(axes: Axes, number: int) -> None:
    """Draw a test image with the borders of windows (thin) and of cells (thick)."""
    axes.imshow(data.test.image(number).permute(1, 2, 0).numpy(), extent=(0, 32, 32, 0))
    for step, width in ((WINDOW, 0.5), (CELL, 2)):
        for place in range(step, 32, step):
            axes.axhline(place, color="black", linewidth=width)
            axes.axvline(place, color="black", linewidth=width)
    axes.set(xticks=[], yticks=[])


def ring(axes: Axes, token: tuple[int, int], colour: str = "white", line: str = "-") -> None:
    """Draw a ring around a token."""
    row, column = token
    style = {"fill": False, "edgecolor": colour, "linestyle": line, "linewidth": 1.5}
    axes.add_patch(Circle((column + 0.1, row + 0.1), 1.5, **style))


SCENE = 0
answers = torch.as_tensor(data.test.label(SCENE))
asked = [tuple(token) for token in (answers != UNKNOWN).nonzero().tolist()]
query = asked[0]

figure, axes = plt.subplots(figsize=(4.2, 4.2))
figure.set_label("Coloured discs, with white ones in one quarter. A ring marks one disc.")
draw_scene(axes, SCENE)
ring(axes, query)
axes.set_title("Is the answer for the ringed disc large or small?")
plt.show()

# %% [markdown]
# ## 1. Answer it yourself
#
# One quarter of the image is the **legend**. Each of its four groups has two discs of one colour and two white ones.
#
# 1. What colour is the ringed disc? Find the group of that colour in the legend.
# 2. Are the white discs of that group large or small? That is the answer.
#
# The map has 32 × 32 tokens of 4 × 4 pixels. Thin lines are the borders of the windows ($G_1 = 8$), thick lines those
# of the cells ($G_2 = 16$).
#
# - **Near attention alone** sees the ringed disc's own window. The legend is outside.
# - **Far attention alone** sees the average of the legend's cell. Two of its groups have large white discs and two
#   have small ones, in every image: the average never shows which.
# - **Both**: in the legend, a coloured disc can learn the size of its white neighbours by near attention. Then far
#   attention can carry it to the disc that asks. Training shows the network only the answers: it has to find this path.
#
# Images come in pairs with swapped sizes, so guessing gives exactly half of the answers.

# %% [markdown]
# ## 2. Train both networks
#
# The network is one stage of a HAT-Net: a stem, two blocks, and a linear layer that answers for each token. Both
# versions cost the same number of multiplications: where far attention alone saves some, the MLPs are wider. The runs
# are those of [the study](../where-the-hierarchy-pays.md) with seed 0: 4,096 images once, 128 steps, about a minute
# each.


# %%
def train(arm: str, folder: Path) -> Backbone:
    """Train one version of the network, and return it with averaged weights."""
    training = Training(
        settings.recipe(seed=0), data, folder / arm, Processes(0, 1, torch.device("cpu")),
        task=settings.task, build=lambda _: build(settings.matched(arm)), threads=1,
    )  # fmt: skip
    (row,) = training.run(Monitor())  # one row per epoch
    print(f"{arm}: {row['test_accuracy']:.2%} right on {len(data.test)} unseen images")
    return training.learner.tested


with tempfile.TemporaryDirectory() as folder:
    models = {arm: train(arm, Path(folder)).eval() for arm in ("h-mhsa", "global")}

# %% [markdown]
# Half of the answers is what guessing gives. Far attention alone has guessed, and not because it is small: it is
# wider. Now the scene from above, answered by both. A solid ring is a right answer, a dashed one a wrong answer.


# %% [fold: Code of this figure]
def normalised(number: int) -> Tensor:
    """A test image as the networks take it, (1, 3, 128, 128)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    return ((data.test.image(number) / 255 - mean) / std)[None]


titles = {"h-mhsa": "near and far (H-MHSA)", "global": "far alone"}
figure, panels = plt.subplots(1, 2, figsize=(7.5, 4), layout="constrained")
figure.set_label(
    "The scene twice, with a ring around every disc that is asked: H-MHSA has only solid rings, "
    "which are right answers; far alone has solid and dashed ones."
)
for axes, (arm, model) in zip(panels, models.items(), strict=True):
    with torch.inference_mode():
        given = model(normalised(SCENE))[0].argmax(dim=0)
    right = [bool(given[token] == answers[token]) for token in asked]
    draw_scene(axes, SCENE)
    for token, good in zip(asked, right, strict=True):
        ring(axes, token, line="-" if good else "--")
    axes.set_title(f"{titles[arm]}: {sum(right)} of {len(right)} right")
plt.show()

# %% [markdown]
# ## 3. What do they attend to?
#
# A softmax row shows what one token attends to, in one head of one block. We look at block 0:
#
# - **far**: the ringed disc asks the four cells. We take the head with the clearest row.
# - **near**, in H-MHSA only: in each window of the legend, one coloured disc asks the tokens of its window.


# %% [fold: Code of these maps]
def attention_of(model: Backbone, number: int) -> dict[str, Tensor]:
    """The attention weights of one image, by the end of their name in a trace."""
    with torch.no_grad(), unfused_attention() as weights:
        model(normalised(number))
    return {name.removeprefix("stages.0.blocks."): value for name, value in weights.items()}


def far_row(weights: dict[str, Tensor], token: tuple[int, int]) -> Tensor:
    """A token's weights over the cells in block 0, (2, 2), in the head with the largest one."""
    rows = weights["0.attention.global_weights"][0, :, 32 * token[0] + token[1]]  # (heads, 4)
    return rows[rows.amax(dim=1).argmax()].view(2, 2)


def near_row(weights: dict[str, Tensor], token: tuple[int, int]) -> Tensor:
    """A token's weights over its window in block 0, on the map (32, 32); mean of the heads."""
    (window_row, row), (window_column, column) = (divmod(place, WINDOW) for place in token)
    window = 4 * window_row + window_column
    rows = weights["0.attention.local_weights"][window, :, WINDOW * row + column]  # (heads, 64)
    whole = torch.zeros(32, 32)
    top, left = token[0] - row, token[1] - column
    whole[top : top + WINDOW, left : left + WINDOW] = rows.mean(dim=0).view(WINDOW, WINDOW)
    return whole


# The legend's cell is the one with white discs. One coloured disc of each of its windows asks.
pixels = data.test.image(SCENE)[:, 8::16, 8::16].long()  # (3, 8, 8), the middle of every slot
white, coloured = pixels.amin(dim=0) > 200, pixels.amax(dim=0) - pixels.amin(dim=0) > 60
top, left = (CELL * int(place >= 4) for place in white.nonzero()[0])
groups = [(top // 4 + row, left // 4 + column) for row in (0, 2) for column in (0, 2)]
tellers = []
for row, column in groups:
    first = coloured[row : row + 2, column : column + 2].nonzero()[0]
    tellers.append((4 * (row + int(first[0])) + 2, 4 * (column + int(first[1])) + 2))

weights = {arm: attention_of(model, SCENE) for arm, model in models.items()}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained")
figure.set_label(
    "The four far weights of the ringed disc in both networks, by far the largest in the legend's "
    "cell; and the near weights of four coloured discs of the legend, on discs of their windows."
)
for axes, arm in zip(panels, ("h-mhsa", "global"), strict=False):
    cells = far_row(weights[arm], query)
    draw_scene(axes, SCENE)
    ring(axes, query)
    for (row, column), weight in (
        (place, cells[place]) for place in ((0, 0), (0, 1), (1, 0), (1, 1))
    ):
        box = {"facecolor": FAR, "alpha": 0.25 + 0.75 * float(weight), "edgecolor": "none"}
        axes.text(
            CELL * column + 8,
            CELL * row + 15,
            f"{weight:.2f}",
            color="white",
            ha="center",
            bbox=box,
        )
    axes.set_title(f"far attention of the ring:\n{titles[arm]}")
draw_scene(panels[2], SCENE)
for teller in tellers:
    ring(panels[2], teller)
    row = near_row(weights["h-mhsa"], teller)
    for y, x in (row > 0.05).nonzero().tolist():
        share = float(row[y, x])
        style = {"facecolor": NEAR, "edgecolor": "white", "alpha": 0.8}
        panels[2].scatter(x + 0.5, y + 0.5, s=300 * share, **style)
        panels[2].text(x + 1.1, y + 0.5, f"{share:.2f}", color="white", va="center", fontsize=8)
panels[2].set(xlim=(left, left + CELL), ylim=(top + CELL, top))
panels[2].set_title("near attention in the legend:\nnear and far (H-MHSA), enlarged")
plt.show()

# %% [markdown]
# **Far alone looks at the right place.** Its ring attends to the legend, as the ring of H-MHSA does. But it finds
# only an average there, and the average says nothing. What differs is near attention, which comes **before** the
# cells are merged: Eq. 10 merges $A_1$, its result. So what a coloured disc gathers from its window is in the average.
#
# **The maps do not show what it gathers.** Some discs attend to their white neighbours, others to themselves and to
# the other disc of their colour. And the two far maps look alike, though one network is right and the other guesses.
# Attention shows where a network looks, not what it finds there.

# %%
for arm in weights:
    cells = far_row(weights[arm], query).flatten()
    legend_cell = 2 * (top // CELL) + left // CELL
    print(f"{arm}: the ring gives {cells[legend_cell]:.0%} of its far weight to the legend")
    assert int(cells.argmax()) == legend_cell

# %% [markdown]
# ## 4. Which attention carries the answer?
#
# Maps suggest; cuts decide. We make one attention of H-MHSA **uniform**: every key gets the same weight, whatever the
# query. If the answers stay right, the network did not need that choice.

# %%
images = torch.cat([normalised(number) for number in range(64)])
truth = torch.stack([torch.as_tensor(data.test.label(number)) for number in range(64)])


def accuracy(model: Backbone, uniform: str = "") -> float:
    """Share of right answers, with one attention uniform."""

    def kernel(
        Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None, name: str
    ) -> Tensor:
        if uniform and name.endswith(uniform):
            Q = torch.zeros_like(Q)  # all scores are equal, so the softmax is uniform
        return fused_attention(Q, K, V, heads, mask, name)

    with torch.inference_mode(), attention_kernel(kernel):
        given = model(images).argmax(dim=1)
    return float((given == truth)[truth != UNKNOWN].float().mean())


cuts = {"nothing": ""} | {
    f"{half} attention of block {block}": f"blocks.{block}.attention.{name}_weights"
    for block in (0, 1)
    for half, name in (("near", "local"), ("far", "global"))
}
shares = {cut: accuracy(models["h-mhsa"], name) for cut, name in cuts.items()}
for cut, share in shares.items():
    print(f"{cut + ' made uniform':<38}{share:>8.1%}")
assert shares["nothing"] > 0.95
assert min(shares.values()) < 0.6  # at least one attention cannot be spared

# %% [markdown]
# With near attention of block 0 uniform, the network guesses: the answer passes through there. With its far attention
# uniform, many answers are lost, but not all, because a uniform row still has a quarter of the legend. Block 1 can do
# without choosing. So the path is short: near, then far, in one block, in the order of the equations.
#
# ## Exercises
#
# **1. The other image of the pair.** Images 0 and 1 have the same discs in the same places, but every large white
# disc of one is small in the other. Which answers of H-MHSA change? Which of far alone?

# %% solution
for arm, model in models.items():
    with torch.inference_mode():
        first, second = (model(normalised(number))[0].argmax(dim=0) for number in (0, 1))
    changed = sum(int(first[token] != second[token]) for token in asked)
    print(f"{arm}: {changed} of {len(asked)} answers change")
    assert arm == "global" or changed == len(asked)

# %% [markdown]
# **2. Blind the legend.** Paint everything outside the legend's quarter except one asked disc in the background's
# grey (100 of 255). Does H-MHSA still answer? Now paint the legend: how many answers stay right? Predict both.


# %% solution
def paint(keep: Tensor) -> Tensor:
    """The scene with everything grey where `keep` (128, 128) is false."""
    image = torch.where(keep, data.test.image(SCENE), torch.full_like(data.test.image(SCENE), 100))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    return ((image / 255 - mean) / std)[None]


legend = torch.zeros(128, 128, dtype=torch.bool)
legend[TOKEN * top : TOKEN * (top + CELL), TOKEN * left : TOKEN * (left + CELL)] = True
disc = torch.zeros(128, 128, dtype=torch.bool)
disc[TOKEN * query[0] - 8 : TOKEN * query[0] + 8, TOKEN * query[1] - 8 : TOKEN * query[1] + 8] = (
    True
)
with torch.inference_mode():
    only_legend = models["h-mhsa"](paint(legend | disc))[0, :, *query].softmax(dim=0)
    no_legend = models["h-mhsa"](paint(~legend))[0].argmax(dim=0)
print(f"legend and one disc: probability of the right answer {only_legend[answers[query]]:.2f}")
right = sum(int(no_legend[token] == answers[token]) for token in asked)
print(f"no legend: {right} of {len(asked)} right, by chance")
assert only_legend[answers[query]] > 0.5

# %% [markdown]
# ## What to remember
#
# - A half of the hierarchy can look at the right place and still not see: averages hide what they average over.
# - Near attention before merging puts detail into the average. That is the order of Eq. 6 to 14, and here it makes the
#   difference between guessing and knowing.
# - Compare maps of networks that are right and wrong. If they look alike, the map is not the explanation.
# - [The study](../where-the-hierarchy-pays.md) asks three such questions with five seeds, five kinds of attention and
#   a budget fixed beforehand. The question was made for windows and cells: it shows what the hierarchy can do, not
#   how often photographs need it.
