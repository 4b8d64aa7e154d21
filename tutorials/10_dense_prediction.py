# %% [markdown]
# # From maps to masks and boxes
#
# **The question.** A network for classification ends in one vector. Where things are is lost on the way. But the maps
# before that vector still have places. How do they become a class for every pixel, a box around every object, and its
# outline? And how can a network with attention afford an image of 800 x 1280 pixels?
#
# **Predict before you read on**, and write down three answers. Parts 3, 5 and 6 check them.
#
# 1. The coarsest map of our network has one token per 16 x 16 pixels. Can it help to find an outline that is exact to
#    a pixel?
# 2. A detector rates a fixed list of boxes. How many does it need for a scene of 128 x 128 pixels: about 100, 1,000 or
#    10,000?
# 3. Plain attention on the finest map of an image of 800 x 1280 pixels: how many times the multiplications of
#    hierarchical attention?

# %% [fold: Imports, and how this page draws]
"""Tutorial 10: dense prediction, from feature maps to masks and boxes on unseen scenes."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, nms

import hatnet
import reference
from hatnet.complexity import h_mhsa_cost, mhsa_cost, total
from hatnet.complexity.dense import dense_costs
from hatnet.data.scenes.compose import Scene, compose
from hatnet.data.scenes.cutouts import Garments

torch.set_num_threads(1)
NEAR, FAR, BOTH, GREY = "#0072B2", "#D55E00", "#8A4F9E", "#777777"
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")  # of the classes


def show(ax: plt.Axes, image: Tensor, title: str) -> None:
    """An image (3, H, W) in [0, 1], without ticks."""
    ax.imshow(image.permute(1, 2, 0))
    ax.set(xticks=[], yticks=[], xlim=(-0.5, 127.5), ylim=(127.5, -0.5))
    ax.set_title(title, fontsize=10)


def paint(ax: plt.Axes, labels: Tensor) -> None:
    """A class per pixel (H, W) over an image. The background stays clear."""
    rgba = torch.tensor([(*to_rgb(colour), 0.7 * (k > 0)) for k, colour in enumerate(COLOURS)])
    ax.imshow(rgba[labels])


def draw_boxes(ax: plt.Axes, boxes: Tensor, colours: list, names: list, width=2.0) -> None:
    """Boxes (N, 4), x1 y1 x2 y2 in pixels, with names; an empty name writes nothing."""
    for (x1, y1, x2, y2), colour, name in zip(boxes.tolist(), colours, names, strict=True):
        ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=width))
        if name:
            place = (min(max(x1, 1), 100), max(y1 - 2, 8))
            box = {"facecolor": colour, "pad": 1, "linewidth": 0}
            ax.text(*place, name, color="black", fontsize=7, bbox=box)


def three_pairs(alt: str) -> list[tuple[plt.Axes, plt.Axes]]:
    """Three columns of two panels. On a phone, both of a column are side by side."""
    fig = plt.figure(figsize=(9.5, 6.6), layout="constrained")
    fig.set_label(alt)
    return [(fig.add_subplot(2, 3, k), fig.add_subplot(2, 3, k + 3)) for k in (1, 2, 3)]


# %%
garments = Garments()  # real photographs of clothes, cut out
scenes = [compose(garments, "val", index, 128, seed=0) for index in range(30)]
classes = ("background", *garments.classes)
images = torch.stack([torch.tensor(scene.pixels).permute(2, 0, 1) / 255 for scene in scenes])
SIDE = 288  # pixels, as at the end of the training of both networks
enlarged = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear")
class_of = [torch.tensor([0, *(k + 1 for k in scene.labels)]) for scene in scenes]  # of each object
owners = [torch.tensor(scene.owner).long() for scene in scenes]  # the object that a pixel shows
truth = [numbers[owner] for numbers, owner in zip(class_of, owners, strict=True)]  # its class

segmenter = hatnet.create_model("micro", "scenes-segmentation", task="segmentation")
detector = hatnet.create_model("micro", "scenes-instances", task="instances")
SHOWN = 7
with torch.no_grad():
    logits = segmenter(enlarged[SHOWN : SHOWN + 1])  # (1, classes, SIDE, SIDE)
    predicted = F.interpolate(logits, size=(128, 128), mode="bilinear")[0].argmax(0)  # (H, W)
    (found,) = detector([images[SHOWN]])  # boxes, labels, scores, masks; it enlarges by itself

# %% [fold: Code of this figure]
likely = found["scores"] > 0.6
fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.4), layout="constrained")
fig.set_label(
    "A scene of clothes on a photographed texture; the class that a network gives to each pixel; "
    "the boxes that another network draws around the objects."
)
show(axes[0], images[SHOWN], "an unseen scene")
show(axes[1], images[SHOWN], "a class per pixel")
paint(axes[1], predicted)
show(axes[2], images[SHOWN], "objects in boxes")
labels = found["labels"][likely].tolist()
names = [classes[k] for k in labels]
draw_boxes(axes[2], found["boxes"][likely], [COLOURS[k] for k in labels], names)
plt.show()

# %% [markdown]
# Tops are orange, trousers light blue, dresses green, shoes yellow, bags pink.
#
# Both networks come with this package. They were trained on **scenes**, which a program composes from photographs of
# clothes and of textures. The scenes of this page are the first 30 of the 500 test scenes. Their clothes and textures
# occur in no training scene. Scenes have 128 x 128 pixels, and both networks see them enlarged to 288 x 288: more
# tokens for each garment. Both make mistakes, and part 7 looks at the worst.
#
# The three tasks of the paper ask for such answers. **Semantic segmentation** gives a class to each pixel, **object
# detection** puts a box around each object, and **instance segmentation** adds the outline of each object.
#
# ## 1. What the answers should be
#
# Because a program composed the scenes, the true answers are exact. `owner` numbers the object that each pixel shows.

# %%
scene = scenes[SHOWN]
print(f"scene {tuple(scene.pixels.shape)}, owner {tuple(scene.owner.shape)}")
for number, label in enumerate(scene.labels, start=1):
    rows, columns = np.nonzero(scene.owner == number)
    box = f"{columns.min():3} to {columns.max():3} across, {rows.min():3} to {rows.max():3} down"
    print(f"object {number}: {classes[label + 1]:8} {len(rows):5,} pixels, {box}")

# %% [markdown]
# ## 2. Three maps, equal to the reference
#
# A published HAT-Net has four stages and returns four maps, with one token per 4, 8, 16 and 32 pixels. Our small one
# has three stages, with one token per 4, 8 and 16 pixels. As everywhere on this site, stages count from 0.
#
# The maps below the predictions are the maps of the paper's equations: `reference/`, in plain NumPy, computes the
# same numbers for this scene and these weights.

# %%
body = segmenter.backbone.body
normalised = segmenter.transform(enlarged[SHOWN : SHOWN + 1])  # minus the mean, over the deviation
with torch.no_grad():
    maps = body.double().forward_features(normalised.double())

weights = hatnet.to_numpy(body)
# The reference has a classifier, too; its result is not used here.
weights |= {"classifier.weight": np.zeros((1, 128)), "classifier.bias": np.zeros(1)}
trace = {}
reference.hat_net(normalised[0].double().numpy(), weights, body.config, trace)
for stage, computed in enumerate(maps):
    expected = trace[f"stages.{stage}.output"]  # (H, W, C)
    difference = np.abs(computed[0].permute(1, 2, 0).numpy() - expected).max()
    assert difference < 1e-9 * np.abs(expected).max()
    print(f"stage {stage}, (H, W, C) = {expected.shape}: largest difference {difference:.0e}")
body.float()

# %% [markdown]
# To see a map of 32 to 128 channels, we take its three strongest directions (principal components) and draw them as
# red, green and blue. Tokens with similar features get similar colours.

# %% [fold: Code of this figure]
maps = [level.float() for level in maps]
with torch.no_grad():
    pyramid = list(segmenter.backbone(normalised).values())


def three_directions(features: Tensor) -> Tensor:
    """(C, h, w) -> (h, w, 3): the first three principal components, each stretched to 0 ... 1."""
    tokens = features.flatten(1).T  # (hw, C)
    tokens = tokens - tokens.mean(0)
    values = tokens @ torch.linalg.svd(tokens, full_matrices=False).Vh[:3].T  # (hw, 3)
    low, high = values.quantile(0.02, dim=0), values.quantile(0.98, dim=0)
    return ((values - low) / (high - low)).clamp(0, 1).unflatten(0, features.shape[1:])


columns = three_pairs(
    "The maps of stages 0, 1 and 2, finer to coarser; below them the same levels of the pyramid, "
    "in which the objects stand out at every level."
)
for number, column in enumerate(columns):
    for ax, name, levels in zip(column, ("stage", "pyramid, level"), (maps, pyramid), strict=True):
        level = levels[number]
        ax.imshow(three_directions(level[0]), interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        size = f"{level.shape[2]} x {level.shape[3]} tokens, {level.shape[1]} channels"
        ax.set_title(f"{name} {number}\n{size}", fontsize=10)
plt.show()

# %% [markdown]
# Stage 0 follows edges and light. Stage 2 separates the objects from the background, but in blocks of 16 pixels. The
# lower row shows what the next part builds: levels that are both fine and informed.
#
# ## 3. The pyramid in six lines
#
# The **feature pyramid** carries the content of the coarse maps down to the fine ones. A 1 x 1 convolution gives each
# map the same number of channels. Then, from coarse to fine, the sum so far is enlarged to the size of the next map
# and added to it. A 3 x 3 convolution smooths each sum.

# %%
fpn = segmenter.backbone.fpn
with torch.no_grad():
    lateral = [fpn.inner_blocks[level](features) for level, features in enumerate(maps)]
    summed = [lateral[2]]
    for level in (1, 0):
        summed.insert(0, lateral[level] + F.interpolate(summed[0], size=lateral[level].shape[2:]))
    by_hand = [fpn.layer_blocks[level](features) for level, features in enumerate(summed)]

for ours, torchvisions in zip(by_hand, pyramid, strict=True):
    assert (ours - torchvisions).abs().max() < 1e-5 * torchvisions.abs().max()
print("the pyramid by hand equals torchvision's at all three levels")

# %% [markdown]
# **What does one token of the pyramid see?** We take a place on an object, and compute how strongly each pixel of the
# scene changes the features of the token there: the gradient of their length with respect to the pixels.


# %%
def seen_by(level: Tensor, pixels: Tensor, place: tuple[int, int]) -> Tensor:
    """How much each pixel (H, W) matters to the token at `place` of a map (1, C, h, w)."""
    (gradient,) = torch.autograd.grad(level[0, :, *place].norm(), pixels, retain_graph=True)
    return gradient[0].abs().sum(0)


pixels = normalised.clone().requires_grad_()
stages, levels = body.forward_features(pixels), list(segmenter.backbone(pixels).values())
rows, columns = np.nonzero(scene.owner == 1)
y, x = int(np.median(rows)), int(np.median(columns))
place = (y * SIDE // 128 // 4, x * SIDE // 128 // 4)  # of its token in the finest map
views = {
    "stage 0": seen_by(stages[0], pixels, place),
    "pyramid": seen_by(levels[0], pixels, place),
}
for name, view in views.items():
    order = view.flatten().sort(descending=True).values
    half = int((order.cumsum(0) < order.sum() / 2).sum()) + 1
    print(f"{name:8} half of the gradient is in {half:5,} of {view.numel():,} pixels")

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.5), layout="constrained")
fig.set_label(
    "The scene with the chosen place; the pixels that matter to the token of stage 0 there; "
    "those that matter to the token of the pyramid's finest level, which are spread more widely."
)
show(axes[0], images[SHOWN], "the chosen place")
axes[0].plot(x, y, "o", color="white", markeredgecolor="black", markersize=8)
for ax, (name, view) in zip(axes[1:], views.items(), strict=True):
    ax.imshow(view.sqrt(), cmap="magma", vmax=float(view.sqrt().quantile(0.998)))
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{name}: pixels that matter", fontsize=10)
plt.show()

# %% [markdown]
# The token of stage 0 depends mostly on its own window of 8 x 8 tokens, 32 x 32 pixels. Faint traces far away come
# through the merged cells. The token of the pyramid has the same place and the same size, but it also receives sums
# from stages 1 and 2, whose windows are 64 and 128 pixels wide. It sees the whole garment, and what is around it.
#
# **Answer 1.** Alone, the coarsest map cannot draw an outline to a pixel. But it can tell what is there, and a finer
# map can tell where that ends. So yes, it helps.
#
# ## 4. A class for every pixel
#
# The head of **Semantic FPN** enlarges all levels to the size of the finest and adds them. A 1 x 1 convolution then
# computes one logit per class, a number that grows with the network's confidence. Enlarged four times more, there is
# one for each pixel, and the class with the largest logit wins.
#
# The result is measured by the **intersection over union** (IoU) of each class: the pixels that are in both the
# prediction and the truth, divided by the pixels that are in at least one. It is 1 for a perfect class and 0 for a
# class that is missed. The mean over the classes, **mIoU**, is the figure in papers. To see what each map brings, we
# leave out one at a time, on all 30 scenes.


# %%
def class_iou(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """The IoU of each class that occurs in the truth."""
    found = {}
    for number, name in enumerate(classes):
        ours, exact = predicted == number, true == number
        if exact.any():
            found[name] = float((ours & exact).sum() / (ours | exact).sum())
    return found


def classes_from(lateral: list[Tensor]) -> Tensor:
    """The class of each pixel (B, H, W) from maps after the first convolutions of the pyramid."""
    summed = [lateral[2]]
    for level in (1, 0):
        summed.insert(0, lateral[level] + F.interpolate(summed[0], size=lateral[level].shape[2:]))
    levels = [fpn.layer_blocks[level](features) for level, features in enumerate(summed)]
    return F.interpolate(segmenter.head(levels), size=(128, 128), mode="bilinear").argmax(1)


def mean_iou(predicted: Tensor) -> float:
    """The mean IoU over all classes, of the pixels of all scenes together."""
    values = class_iou(predicted, torch.stack(truth))
    return sum(values.values()) / len(values)


with torch.no_grad():
    all_maps = body.forward_features(segmenter.transform(enlarged))
    lateral = [fpn.inner_blocks[level](features) for level, features in enumerate(all_maps)]
    predictions = classes_from(lateral)
    without = {}
    for stage in range(3):
        without[stage] = classes_from([m * (k != stage) for k, m in enumerate(lateral)])
print(f"mean IoU of the 30 scenes: {mean_iou(predictions):.2f}")
for stage, left in without.items():
    print(f"without the map of stage {stage}: {mean_iou(left):.2f}")

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 4, figsize=(12.5, 3.4), layout="constrained")
fig.set_label(
    "The true class of each pixel; the predicted one; that without the finest map, in which the "
    "bag's handle is thinner; that without the coarsest map, in which most of two tops is missing."
)
results = {
    "true": truth[SHOWN],
    "predicted": predicted,
    "without stage 0": without[0][SHOWN],
    "without stage 2": without[2][SHOWN],
}
for ax, (title, labels) in zip(axes, results.items(), strict=True):
    show(ax, images[SHOWN], title)
    paint(ax, labels)
plt.show()

# %% [markdown]
# Without the coarsest map the network is wrong about most of the clothes, though it has all the details: in this
# scene it still finds the bag, but little of the two tops. Without the finest map it finds all three objects, but
# thin parts, such as the handle of the bag, get thinner. The network was trained with all maps, so this shows what it
# relies on, not what another training could reach.
#
# ## 5. From a list of boxes to objects
#
# A detector cannot return "as many boxes as there are objects": the output of a network has a fixed size. So it rates
# a fixed list of **anchors**, boxes of a few sizes and shapes around each token of each level. The first part of
# **Mask R-CNN** gives each anchor a score, and four numbers that move and scale it.

# %%
with torch.no_grad():
    batch, _ = detector.transform([images[SHOWN]])  # normalised, and enlarged as in its training
    levels = list(detector.backbone(batch.tensors).values())
    scale = 128 / batch.tensors.shape[-1]  # back to pixels of the scene
    anchors = scale * detector.rpn.anchor_generator(batch, levels)[0]  # (anchors, 4)
    scores = [score.permute(0, 2, 3, 1).flatten() for score in detector.rpn.head(levels)[0]]
scores = torch.cat(scores)
print(
    f"{len(anchors):,} anchors on {len(levels)} levels; the scene is enlarged {1 / scale:.1f} times"
)

boxes = torch.tensor(
    [
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        for rows, columns in (np.nonzero(scene.owner == k + 1) for k in range(len(scene.labels)))
    ]
)
overlap = box_iou(boxes, anchors)  # (objects, anchors)
for label, best in zip(scene.labels, overlap.max(1).values.tolist(), strict=True):
    print(f"{classes[label + 1]:8} IoU of its box with the best anchor: {best:.2f}")

# %% [markdown]
# **Answer 2** is the first number. Most anchors are on the background, and each object has many anchors with a high
# score. Of boxes that overlap strongly only the one with the highest score is kept. This is **non-maximum
# suppression** (NMS):


# %%
def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Keep a box if it overlaps no better box that was kept by more than `threshold`."""
    kept: list[int] = []
    for place in scores.argsort(descending=True).tolist():
        if all(box_iou(boxes[[place]], boxes[[other]]) <= threshold for other in kept):
            kept.append(place)
    return kept


best = scores.topk(60).indices
kept = suppress(anchors[best], scores[best], 0.5)
assert kept == nms(anchors[best], scores[best], 0.5).tolist()
print(f"of the 60 best anchors {len(kept)} are left; torchvision keeps the same")

# %% [markdown]
# The second part classifies, moves and outlines each box. **RoIAlign** cuts 14 x 14 features out of the level that
# suits the size of the box. Four convolutions turn them into 28 x 28 probabilities, which are stretched over the box.

# %% [fold: Code of this figure]
fig, axes = plt.subplots(1, 4, figsize=(12.5, 3.4), layout="constrained")
fig.set_label(
    "The sixty best anchors; those left after suppression; the boxes that the network made of "
    "them, with classes; the masks in these boxes."
)
for ax, chosen, title in (
    (axes[0], anchors[best], "the 60 best anchors"),
    (axes[1], anchors[best][kept], f"{len(kept)} after suppression"),
):
    show(ax, images[SHOWN], title)
    draw_boxes(ax, chosen, ["white"] * len(chosen), [""] * len(chosen), width=0.9)
show(axes[2], images[SHOWN], "moved and classified")
labels = found["labels"][likely].tolist()
names = [classes[k] for k in labels]
draw_boxes(axes[2], found["boxes"][likely], [COLOURS[k] for k in labels], names)
outlined = torch.zeros(128, 128, dtype=torch.int64)
for mask, label in reversed(list(zip(found["masks"][likely, 0], labels, strict=True))):
    outlined[mask > 0.5] = label
show(axes[3], images[SHOWN], "outlined")
paint(axes[3], outlined)
plt.show()

# %% [markdown]
# All three objects are found. In scene 4, another one is found twice, as a top and as a dress: at the end only boxes
# of the same class suppress each other.
#
# ## 6. Why 800 x 1280 pixels are affordable
#
# Dense tasks need large images. The finest map of a published HAT-Net then has 200 x 320 = 64,000 tokens. Plain
# attention compares all pairs of tokens. Hierarchical attention compares each token with the 64 tokens of its window
# (near) and with 13 x 20 merged cells of $G_2$ = 16 x 16 tokens (far). We count multiplications with their additions
# (MACs), as in [tutorial 3](03_complexity.md), for one attention with 64 channels.

# %%
C, G1, G2 = 64, 8, 16  # stage 0, with the paper's windows for dense tasks
widths = list(range(128, 1281, 64))
sizes = [(width * 5 // 8 // 4, width // 4) for width in widths]  # tokens: height 5/8 of the width
plain = [mhsa_cost(*size, C).total_macs / 1e9 for size in sizes]
costs = [h_mhsa_cost(*size, C, G1, G2) for size in sizes]
hierarchical = [cost.total_macs / 1e9 for cost in costs]
near = [(cost.macs["Q1 K1^T"] + cost.macs["softmax V1"]) / 1e9 for cost in costs]
far = [(cost.macs["Q2 K2^T"] + cost.macs["softmax V2"]) / 1e9 for cost in costs]

config = hatnet.get_config("small", num_classes=80).with_dense_windows()
detector_cost = total(dense_costs(config, "instances", 800, 1280)).total_macs / 1e9
print(f"one plain attention at 800 x 1280 pixels: {plain[-1]:6.1f} G MACs")
print(f"one hierarchical attention:               {hierarchical[-1]:6.1f} G MACs")
print(f"ratio:                                    {plain[-1] / hierarchical[-1]:6.0f}")
print(f"all of Mask R-CNN on HAT-Net Small:       {detector_cost:6.1f} G MACs")

# %% [fold: Code of this figure]
fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
fig.set_label(
    "Multiplications of one attention over the width of the image, both axes logarithmic: plain "
    "attention is the steepest line; hierarchical attention stays far below, and its far path "
    "overtakes its near path at about 650 pixels."
)
ax.plot(widths, plain, color=GREY, linestyle="--", marker="s", markersize=3, label="plain")
ax.plot(widths, hierarchical, color=BOTH, marker="o", markersize=3, label="hierarchical, all of it")
ax.plot(widths, near, color=NEAR, linewidth=1.2, label="its near scores and sums")
ax.plot(widths, far, color=FAR, linewidth=1.2, linestyle="-.", label="its far scores and sums")
ax.axhline(detector_cost, color=GREY, linewidth=0.8, linestyle=":")
ax.text(130, detector_cost * 1.15, "all of Mask R-CNN at 800 x 1280", fontsize=8)
ax.set(xscale="log", yscale="log", xlabel="width of the image in pixels", ylabel="G MACs")
ticks = [128, 256, 512, 800, 1280]
ax.set_xticks(ticks, [str(tick) for tick in ticks])
ax.minorticks_off()
ax.set_title("One attention on the finest map", fontsize=11)
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **Answer 3** is the ratio. One plain attention on the finest map would cost more than the whole detector. Memory
# tells the same: the weights of one head would be 64,000 x 64,000 numbers, 16 GB in float32.
#
# The far path still grows with the square of the number of tokens, only 256 times more slowly. At this size it
# already costs more than the near path. For much larger images $G_2$ has to grow, too.
#
# ## 7. Scenes that go wrong
#
# One scene proves nothing, and a page can choose a good one. So here are all 30, ordered by their mean IoU, and the
# three worst of the segmenter.

# %%
ious = [class_iou(ours, exact) for ours, exact in zip(predictions, truth, strict=True)]
quality = np.array([sum(values.values()) / len(values) for values in ious])
order = quality.argsort()
print(f"worst {quality[order[0]]:.2f}, median {np.median(quality):.2f}, best {quality.max():.2f}")

confusion = torch.zeros(6, 6, dtype=torch.int64)  # rows: true class, columns: predicted class
for ours, exact in zip(predictions, truth, strict=True):
    confusion += torch.bincount((exact * 6 + ours).flatten(), minlength=36).view(6, 6)
wrong = confusion.clone().fill_diagonal_(0)
for place in wrong.flatten().topk(4).indices.tolist():
    true, taken = classes[place // 6], classes[place % 6]
    print(f"{true:10} taken for {taken:10} {wrong.flatten()[place]:6,} pixels")

# %% [fold: Code of this figure]
columns = three_pairs("The three worst scenes: the true classes, and the predicted ones.")
for index, (upper, lower) in zip(order[:3].tolist(), columns, strict=True):
    show(upper, images[index], f"scene {index}: true")
    paint(upper, truth[index])
    show(lower, images[index], f"predicted, mean IoU {quality[index]:.2f}")
    paint(lower, predictions[index])
plt.show()

# %% [markdown]
# Even in these three scenes most outlines are right; it is mostly the classes that are wrong. In the 30 scenes, as in
# all 500, the most frequent mistake is a dress taken for a top. The next two here come from two large bags: one is
# taken for a shoe, the other for a dress. The last picture shows another kind of mistake: a garment gets several
# classes at once. The head decides for every pixel anew,
# and nothing tells it that a thing has one class.
#
# Mask R-CNN decides once per box, so its objects do not fall apart. To judge them, each found object is compared with
# the true ones: it is right if its class is, and if the IoU of the boxes is above 0.5. Each true object counts once.


# %%
def true_boxes(scene: Scene) -> tuple[Tensor, Tensor]:
    """The boxes (N, 4) and labels (N,) of the objects of a scene."""
    places = [np.nonzero(scene.owner == k + 1) for k in range(len(scene.labels))]
    edges = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in places]
    return torch.tensor(edges).reshape(-1, 4), torch.tensor([k + 1 for k in scene.labels])


def judge(scene: Scene, result: dict[str, Tensor], threshold: float) -> np.ndarray:
    """Count the right, wrong and missed objects, with scores of at least `threshold`."""
    exact, labels = true_boxes(scene)
    free = torch.ones(len(labels), dtype=torch.bool)
    right = wrong = 0
    keep = result["scores"] >= threshold
    for box, label in zip(result["boxes"][keep], result["labels"][keep], strict=True):
        overlaps = box_iou(box[None], exact)[0] * (labels == label) * free
        if len(overlaps) and overlaps.max() > 0.5:
            free[overlaps.argmax()] = False
            right += 1
        else:
            wrong += 1
    return np.array([right, wrong, int(free.sum())])


with torch.no_grad():
    detected = [detector([image])[0] for image in images]
judged = np.array([judge(*pair, 0.5) for pair in zip(scenes, detected, strict=True)])
right, wrong, missed = judged.sum(0)
print(
    f"of {right + missed} objects {right} are found and {missed} missed; {wrong} others are wrong"
)

# %% [fold: Code of this figure]
mistakes = judged[:, 1] + judged[:, 2]
columns = three_pairs("The three scenes with most mistakes: the true boxes, and those found.")
for index, (upper, lower) in zip(
    (-mistakes).argsort(kind="stable")[:3].tolist(), columns, strict=True
):
    exact, labels = true_boxes(scenes[index])
    result, (right, wrong, missed) = detected[index], judged[index]
    keep = result["scores"] >= 0.5
    show(upper, images[index], f"scene {index}: true")
    show(lower, images[index], f"found: {right} right, {wrong} wrong, {missed} missed")
    for ax, found_boxes, numbers in (
        (upper, exact, labels),
        (lower, result["boxes"][keep], result["labels"][keep]),
    ):
        numbers = numbers.tolist()
        draw_boxes(ax, found_boxes, [COLOURS[k] for k in numbers], [classes[k] for k in numbers])
plt.show()

# %% [markdown]
# Most of the wrong boxes in these pictures surround something real: a garment for the second time, under another class,
# or parts of two garments. Others are on the background: a leg of a tripod becomes trousers.
#
# More than a third of what is found with a score of 0.5 is wrong. Yet the AP50 of boxes is over 92 %, because AP
# counts a wrong box only as far as it is ranked before right ones, and most of these have lower scores: see exercise
# 3. So a high AP does not mean that every threshold is a good one.
#
# The figures of both networks on all 500 test scenes, and what we aimed for, are on the page
# [Training dense tasks](../dense-training.md).
#
# ## Exercises
#
# **1. Sizes of anchors.** Which object of the scene has the worst best anchor, and why? Print the sizes of the
# anchors of each level, and the size of that object.

# %% solution
for level, cells in enumerate(detector.rpn.anchor_generator.cell_anchors):
    wide, high = scale * (cells[:, 2] - cells[:, 0]), scale * (cells[:, 3] - cells[:, 1])
    shapes = ", ".join(f"{w:.0f} x {h:.0f}" for w, h in zip(wide, high, strict=True))
    tokens = " x ".join(map(str, levels[level].shape[2:]))
    print(f"level {level}, {tokens} tokens: anchors of {shapes} pixels")
hardest = int(overlap.max(1).values.argmin())
x1, y1, x2, y2 = boxes[hardest].tolist()
print(f"{classes[scene.labels[hardest] + 1]}: {x2 - x1} x {y2 - y1} pixels")

# %% [markdown]
# **2. Where plain attention is cheaper.** For which square images, in steps of 32 pixels, is plain attention on the
# finest map cheaper than hierarchical attention with the settings of part 6?

# %% solution
cheaper = [
    4 * side
    for side in range(8, 65, 8)
    if mhsa_cost(side, side, C).total_macs < h_mhsa_cost(side, side, C, G1, G2).total_macs
]
print("plain attention is cheaper at", ", ".join(map(str, cheaper)) or "no such size", "pixels")

# %% [markdown]
# **3. A threshold for the score.** Count the right, wrong and missed objects of all 30 scenes for thresholds of 0.05,
# 0.5 and 0.9. Which would you choose to count clothes, and which to miss nothing?

# %% solution
for threshold in (0.05, 0.5, 0.9):
    pairs = zip(scenes, detected, strict=True)
    right, wrong, missed = sum(judge(*pair, threshold) for pair in pairs)
    print(f"score of at least {threshold}: {right} right, {wrong} wrong, {missed} missed")

# %% [markdown]
# ## What to remember
#
# - Fine maps know where, coarse maps know what. A pyramid adds them, from coarse to fine.
# - Segmentation classifies every pixel. Detection classifies every anchor, and suppresses all but the best.
# - Both need many tokens. Attention on them is affordable only if it does not compare all pairs.
# - Look at the worst results before you believe a mean.
