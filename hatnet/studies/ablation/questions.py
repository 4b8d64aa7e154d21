"""Images that ask a question whose answer lies nearby, far away, or in both places.

An image has 8 x 8 slots, 16 pixels apart, each with one disc or none. Four slots in a square are a group. A group is as
large as a window of the network (8 x 8 tokens of 4 pixels), and a quarter of the image as large as a cell (16 x 16).
Some coloured discs are *asked*: large or small? They all have the same size, so alone they do not tell.

- `near`: the size of the white discs in their own group.
- `far`: the size of the discs of their colour in the *legend*, a quarter of the image with one group for each colour.
- `both`: the size of the white discs beside those of their colour in the legend.

Of four groups in a quarter two are large and two small, at random. Images come in pairs that differ only in these
sizes: where one has large groups, the other has small ones. So whatever does not depend on them is right for half of
the discs, exactly. In `near` and `both`, the average of a cell does not depend on them either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_choice, require_type, require_whole
from hatnet.data import Split
from hatnet.data.images import UNKNOWN

QUESTIONS = ("near", "far", "both")
SIDE = 128  # pixels
TOKEN = 4  # pixels from one token to the next
SLOTS, SPACING = 8, 16  # slots in each direction, and pixels between them
TRAINING, TESTS = 4096, 512  # images

COLOURS = ((220, 50, 50), (225, 205, 50), (60, 185, 75), (60, 90, 220))
WHITE = len(COLOURS)
NO_DISC = -1
RADII = (1.5, 4.0, 2.5)  # in pixels: small, large, asked
ASKED_SIZE = 2
ASKED = 0.6  # probability of an asked disc in a slot far from the legend


@dataclass(frozen=True)
class Scene:
    """The discs of an image and the answers, (8, 8) each."""

    colours: NDArray[np.int64]  # 0 to 3, WHITE or NO_DISC
    sizes: NDArray[np.int64]  # 0 small, 1 large, ASKED_SIZE
    answers: NDArray[np.int64]  # 0 small, 1 large, UNKNOWN where nothing is asked


def arrange(question: str, generator: np.random.Generator, reverse: bool = False) -> Scene:
    """Draw the discs and the answers of one image; with `reverse`, those of the other image of a pair."""
    require_choice("question", question, QUESTIONS)
    require_type("generator", generator, np.random.Generator, "a numpy.random.Generator")
    # Indexed by row and column of the group, and by the slot in it.
    colours, sizes = np.full((4, 4, 4), NO_DISC), np.zeros((4, 4, 4), np.int64)
    answers = np.full((4, 4, 4), UNKNOWN)
    corner = 2 * generator.integers(2, size=2)  # of the legend, in groups
    corners = [(row, column) for row in (0, 2) for column in (0, 2)] if question == "near" else [tuple(corner)]
    for row, column in corners:
        keys, large = generator.permutation(4), generator.permutation([0, 0, 1, 1])  # of the four groups
        large = 1 - large if reverse else large
        groups = _with_white_discs(keys, large, generator) if question != "far" else _of_one_colour(keys, large)
        quarter = np.s_[row : row + 2, column : column + 2]
        colours[quarter], sizes[quarter] = (part.reshape(2, 2, 4) for part in groups)
        if question == "near":
            sizes_here = np.repeat(large, 4).reshape(2, 2, 4)
            answers[quarter] = np.where(colours[quarter] == WHITE, UNKNOWN, sizes_here)
    if question != "near":
        asked = _far_from(corner) & (generator.random((4, 4, 4)) < ASKED)
        drawn = generator.integers(len(COLOURS), size=(4, 4, 4))
        colours[asked], sizes[asked] = drawn[asked], ASKED_SIZE
        answers[asked] = large[np.argsort(keys)][drawn[asked]]
    return Scene(*(_in_rows(part) for part in (colours, sizes, answers)))


def _of_one_colour(keys: NDArray[np.int64], large: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Colours and sizes of four groups, (4, 4) each: all discs have the group's colour and size."""
    return np.repeat(keys[:, None], 4, axis=1), np.repeat(large[:, None], 4, axis=1)


def _with_white_discs(
    keys: NDArray[np.int64], large: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Colours and sizes of four groups, (4, 4) each: two discs of the group's colour and two white of its size."""
    colours, sizes = _of_one_colour(keys, large)
    white = generator.permuted(np.tile([False, False, True, True], (4, 1)), axis=1)
    return np.where(white, WHITE, colours), np.where(white, sizes, ASKED_SIZE)


def _far_from(corner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Groups with at least one group between them and the legend, (4, 4, 1).

    Two blocks with windows and convolutions carry information from one window to the next, but no further.
    """
    row, column = np.where(corner == 0, 3, 0)
    places = np.arange(4)
    return ((places[:, None] == row) | (places == column))[..., None]


def _in_rows(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """(4, 4, 4), by group, to (8, 8), by slot."""
    return groups.reshape(4, 4, 2, 2).transpose(0, 2, 1, 3).reshape(SLOTS, SLOTS)


def draw(scene: Scene, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the discs on noise, (128, 128, 3)."""
    image = np.full((SIDE, SIDE, 3), 100.0)
    palette, reach = np.array([*COLOURS, (250, 250, 250)]), np.arange(-5, 6)
    distances = np.hypot(reach[:, None], reach)
    for row, column in np.argwhere(scene.colours != NO_DISC):
        top, left = (SPACING * place + SPACING // 2 - 5 for place in (row, column))
        around = image[top : top + 11, left : left + 11]
        cover = np.clip(RADII[scene.sizes[row, column]] + 0.5 - distances, 0, 1)[..., None]  # smooth edges
        around += cover * (palette[scene.colours[row, column]] - around)
    image += 8 * (generator.integers(3, size=(SIDE, SIDE, 1)) - 1)
    return image.clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class QuestionImages:
    """Images of one question, drawn whenever they are needed; the same number always gives the same image.

    An even number and the next one are a pair.
    """

    question: str
    numbers: tuple[int, ...]

    @property
    def labels(self) -> Tensor:
        """Zeros: one group, from which a fraction may be split off."""
        return torch.zeros(len(self), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.numbers)

    def image(self, index: int) -> Tensor:
        """One image, (3, 128, 128), uint8."""
        scene, generator = self._scene(index)
        return torch.from_numpy(draw(scene, generator)).permute(2, 0, 1).contiguous()

    def label(self, index: int) -> Tensor:
        """The answers, a `tv_tensors.Mask` (32, 32) with one entry for each token; UNKNOWN where nothing is asked."""
        from torchvision import tv_tensors

        step, tokens = SPACING // TOKEN, SIDE // TOKEN
        mask = np.full((tokens, tokens), UNKNOWN)
        mask[step // 2 :: step, step // 2 :: step] = self._scene(index)[0].answers
        return tv_tensors.Mask(torch.from_numpy(mask))

    def content(self) -> bytes:
        """The question, the numbers, and the pixels of the first image."""
        return repr((self.question, self.numbers)).encode() + self.image(0).numpy().tobytes()

    def part(self, indices: Tensor) -> QuestionImages:
        return replace(self, numbers=tuple(self.numbers[index] for index in indices.tolist()))

    def _scene(self, index: int) -> tuple[Scene, np.random.Generator]:
        """The discs, and the generator for the noise."""
        pair, reverse = divmod(self.numbers[index], 2)
        generator = np.random.default_rng((QUESTIONS.index(self.question), pair))
        return arrange(self.question, generator, bool(reverse)), generator


def open_question(question: str, training: int = TRAINING, tests: int = TESTS) -> Split:
    """The images of a question, all different, in pairs. Raises ValueError for an unknown question.

    >>> open_question("near").train.label(0).shape
    torch.Size([32, 32])
    """
    require_choice("question", question, QUESTIONS)
    training, tests = require_whole("training", training, 1, 10**6), require_whole("tests", tests, 1, 10**6)

    def images(numbers: Iterable[int]) -> QuestionImages:
        return QuestionImages(question, tuple(numbers))

    return Split(
        f"question-{question}", images(range(training)), images(range(10**6, 10**6 + tests)), ("small", "large"),
        mean=(0.42,) * 3, std=(0.15,) * 3, kind="segmentation",
    )  # fmt: skip
