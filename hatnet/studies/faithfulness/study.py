"""The study: draw maps of many test images, and score them with the trained network."""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from hatnet.data import Split
from hatnet.equivalence import evaluation_mode
from hatnet.maps.memory import GIB
from hatnet.network import HATNet
from hatnet.studies.common.machine import machine_details
from hatnet.studies.common.records import timestamp
from hatnet.studies.faithfulness import preparation
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.occlusion import rank_correlations
from hatnet.studies.faithfulness.patches import baseline_images
from hatnet.studies.faithfulness.record import Record, Settings, Similarity, rounded
from hatnet.studies.faithfulness.scorer import Scorer, logits
from hatnet.training.trained_weights import normalised_as
from hatnet.weights.source import Source

Step = Callable[[str], None]  # called with the name of a finished step


def study(
    settings: Settings, source: Source, data: Split, step: Step = lambda _: None, memory_limit: int = 2 * GIB
) -> Record:
    """Draw the maps of test images and score each with the trained network. Raises as `check_study` does.

    `source` is the trained network. `step` is called after each step with its name, `count_steps(settings)` times in
    all. Attention weights and their gradients take at most `memory_limit` bytes.
    """
    start = time.process_time()
    preparation.check_study(settings, source, data, memory_limit)
    data, batch = normalised_as(data, source.about), preparation.batch_size(settings, source, memory_limit)
    with evaluation_mode(source.model), torch.inference_mode(False), torch.enable_grad():
        images, labels = preparation.prepare_images(settings, source, data)
        probabilities = logits(source.model, images, batch).softmax(dim=1)
        answers = probabilities.argmax(dim=1)  # the classes to explain
        record = _empty_record(settings, source, probabilities, labels)
        networks = preparation.untrained_networks(source, settings)
        generator = torch.Generator().manual_seed(settings.seed)
        for name in settings.baselines:
            baselines = baseline_images(name, images, data.mean, data.std, settings.blur)
            scorer = Scorer(settings, name, source.model, images, answers, baselines, generator, batch, memory_limit)
            record.ends.append(scorer.baseline_answer(data.classes))
            record.scores.append(scorer.score("occlusion", "trained", [scorer.logit_drops]))
            step(f"{name}: occlusion")
            for method in settings.methods:
                _score_method(method, scorer, networks, record, step)
    record.seconds = round(time.process_time() - start, 1)
    return record


def count_steps(settings: Settings) -> int:
    """Number of `step` calls that `study` makes."""
    with_network = sum(METHODS[method].needs_network for method in settings.methods)
    return len(settings.baselines) * (1 + len(settings.methods)) + settings.untrained * with_network


def _score_method(method: str, scorer: Scorer, untrained: Sequence[HATNet], record: Record, step: Step) -> None:
    """Score one kind of map of the trained network; for the first baseline, also of the untrained networks."""
    draws = scorer.settings.random_maps if method == "random" else 1
    maps = [scorer.maps(method, scorer.model) for _ in range(draws)]
    record.scores.append(scorer.score(method, "trained", maps))
    step(f"{scorer.name}: {method}")
    if scorer.name != scorer.settings.baselines[0] or not METHODS[method].needs_network:
        return  # the untrained networks take most of the time, so one baseline must do
    similarities = []
    for number, network in enumerate(untrained, start=1):
        other = scorer.maps(method, network)
        record.scores.append(scorer.score(method, f"untrained {number}", [other]))
        similarities.append(rank_correlations(maps[0], other))
        step(f"{scorer.name}: {method}, untrained {number}")
    record.likenesses.append(Similarity(method, rounded(np.mean(similarities, axis=0))))


def _empty_record(settings: Settings, source: Source, probabilities: Tensor, labels: Tensor) -> Record:
    captum = version("captum") if find_spec("captum") else "none"
    versions: dict[str, str | int] = {"threads": torch.get_num_threads(), "numpy": np.__version__, "captum": captum}
    recipe = preparation.original_recipe(source)
    return Record(
        date=timestamp(),
        machine=machine_details() | versions,
        seconds=0.0,
        settings=settings,
        weights={name: source.about[name] for name in ("data", "epoch", "test_accuracy") if name in source.about},
        patches=preparation.patches_per_image(settings, source),
        right=round(float((probabilities.argmax(dim=1) == labels).float().mean()), 4),
        probability=round(float(probabilities.amax(dim=1).mean()), 4),
        initial_weights="unknown" if recipe is None else recipe.initial_weights,
    )
