"""The figure of the questions: images with their answers (matplotlib, extra `studies`)."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from hatnet.data import Images
from hatnet.data.images import UNKNOWN
from hatnet.studies.ablation.one_stage import CONFIG
from hatnet.studies.ablation.questions import QUESTIONS, TOKEN, open_question
from hatnet.studies.common.drawing import STYLE

ANSWERS = (("small", "#56B4E9", "--"), ("large", "#FFFFFF", "-"))  # each answer, and its ring


def draw_questions() -> Figure:
    """Draw the first test image of each question, with a ring around each disc that is asked."""
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        figure.set_label(
            "An image of each question. Discs that are asked have a ring: solid if the answer is large, dashed if it "
            "is small. Thin lines are the borders of windows, thick lines those of cells."
        )
        for axes, question in zip(figure.subplots(1, len(QUESTIONS)), QUESTIONS, strict=True):
            axes.set_title(question)
            _draw_image(axes, open_question(question).test)
        rings = [Circle((0, 0), edgecolor=colour, linestyle=line, fill=False) for _, colour, line in ANSWERS]
        figure.legend(
            rings, [f"asked, answer {name}" for name, *_ in ANSWERS], loc="outside lower center", ncols=2,
            facecolor="#666666", labelcolor="white",
        )  # fmt: skip
    return figure


def _draw_image(axes: Axes, images: Images) -> None:
    """Draw the first image."""
    image, answers = images.image(0), images.label(0)
    side = image.shape[-1]
    axes.imshow(image.permute(1, 2, 0).numpy(), extent=(0, side, side, 0), interpolation="nearest")
    for size, width in ((CONFIG.grid_sizes[0] * TOKEN, 0.4), (CONFIG.pool_sizes[0] * TOKEN, 1.6)):
        for place in range(size, side, size):
            axes.axhline(place, color="#000000", linewidth=width)
            axes.axvline(place, color="#000000", linewidth=width)
    for row, column in (answers != UNKNOWN).nonzero().tolist():
        _, colour, line = ANSWERS[int(answers[row, column])]
        centre = (TOKEN * column + 0.5, TOKEN * row + 0.5)
        axes.add_patch(Circle(centre, 5.5, edgecolor=colour, linestyle=line, fill=False, linewidth=0.9))
    axes.set_xticks([])
    axes.set_yticks([])
