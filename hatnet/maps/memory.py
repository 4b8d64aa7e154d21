"""The memory that attention maps need, counted before anything is computed."""

from collections import Counter

from hatnet.complexity import attention_weights, network_costs
from hatnet.complexity.memory import training_memory_by_part
from hatnet.config import HATNetConfig
from hatnet.trace import Place

GIB = 2**30


def memory_limit(memory: float) -> int:
    """A limit of `memory` GiB, in bytes. Raises ValueError unless it is finite and above 0."""
    if not 0 < memory <= 2**20:
        raise ValueError(f"memory={memory!r} must be a finite number of GiB above 0, such as 2")
    return int(memory * GIB)


def numbers_by_part(config: HATNetConfig, height: int, width: int, batch: int, gradients: bool = False) -> Counter[str]:
    """Count the attention weights in each part; with gradients three times as many, and all maps kept for them.

    >>> from hatnet.config import get_config
    >>> numbers_by_part(get_config("micro"), 28, 28, batch=1)
    Counter({'stage 0': 39040, 'stage 1': 7232, 'stage 2': 2048})
    """
    numbers: Counter[str] = Counter()
    for part in network_costs(config, height, width, padded=True):
        place = Place.parse(part.name)
        if place.stage is not None and place.name == "attention":
            stage = config.stages[place.stage]
            weights = batch * attention_weights(part.cost, stage.channels, stage.heads)
            numbers[_part(place)] += 3 * weights if gradients else weights
    if gradients:
        for name, kept in training_memory_by_part(config, height, width, batch).items():
            numbers[_part(Place.parse(name))] += kept
    return numbers


def require_memory(
    config: HATNetConfig,
    height: int,
    width: int,
    batch: int,
    item: int,
    limit: int,
    gradients: bool = False,
    advice: str = "make the image smaller, or allow more",
) -> None:
    """Raise a ValueError, which ends in `advice`, if so many numbers of `item` bytes take more than `limit` bytes."""
    numbers = numbers_by_part(config, height, width, batch, gradients)
    needed = item * numbers.total()
    if needed > limit:
        also = ", their gradients and the maps kept for them" if gradients else ""
        raise ValueError(
            f"the attention weights{also} of {batch} image{'s' if batch > 1 else ''} of {width} x {height} pixels take "
            f"{needed / GIB:.1f} GiB, the largest part in {numbers.most_common(1)[0][0]}, but the limit is "
            f"{limit / GIB:.1f} GiB; {advice}"
        )


def images_at_once(
    config: HATNetConfig, height: int, width: int, most: int, item: int, limit: int, gradients: bool = False
) -> int:
    """Number of images that can run together: `most`, halved until `require_memory` accepts it or refuses one image."""
    try:
        require_memory(config, height, width, most, item, limit, gradients)
    except ValueError:
        if most <= 1:
            raise
        return images_at_once(config, height, width, most // 2, item, limit, gradients)
    return most


def _part(place: Place) -> str:
    return f"the {place.name.partition('.')[0]}" if place.stage is None else f"stage {place.stage}"
