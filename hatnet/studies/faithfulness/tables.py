"""What a record says, as tables and sentences: for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence

from hatnet.studies.common.table import Grid
from hatnet.studies.faithfulness.baselines import BASELINES
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.record import MEASURES, Record, Score
from hatnet.studies.faithfulness.statistics import Interval, gain, interval, mean_score, told_apart

SHORT = {"random": "random", "brightness": "image"}

# What the signs of the differences to random maps in insertion and deletion amount to.
CURVES = {
    (1, 1): "Better by both",
    (1, 0): "better by insertion alone",
    (0, 1): "better by deletion alone",
    (0, 0): "not told apart",
    (1, -1): "better by insertion, worse by deletion",
    (-1, 1): "worse by insertion, better by deletion",
    (-1, 0): "worse by insertion",
    (0, -1): "worse by deletion",
    (-1, -1): "worse by both",
}


def title(method: str) -> str:
    """Of a method, or of the order that occlusion itself gives."""
    return METHODS[method].title if method in METHODS else "occlusion itself"


def scores(record: Record, baseline: str) -> Grid:
    """Every kind of map by every measure, with half of the 95 % interval; and how it compares with the controls."""
    rows = []
    controls = [record.score(baseline, name) for name in ("random", "brightness")]
    for method in (*record.settings.methods, "occlusion"):
        score = record.score(baseline, method)
        if score is None:
            continue
        own = method == "occlusion"
        cells = [
            _interval(interval(getattr(score, measure)), signed=measure in ("occlusion", "size"))
            for measure in MEASURES
        ]
        if own:
            cells[2] = "1"
        against = ["-" if control in (None, score) else _verdict(score, control) for control in controls if control]
        rows.append((title(method), *cells, *against))
    columns = ("map", "insertion\nhigh", "deletion\nlow", "occlusion\nfall", "occlusion\nsize")
    shown = tuple(f"against\n{SHORT[control.method]}" for control in controls if control)
    return Grid(f"Baseline: {BASELINES[baseline]}", (*columns, *shown), tuple(rows))


def randomisation(record: Record) -> Grid:
    """What is left of each kind of map, and of its score, when the weights are those before training."""
    baseline, rows = record.settings.baselines[0], []
    for method in record.settings.methods:
        trained, new = record.score(baseline, method), record.untrained(baseline, method)
        likeness = record.likeness(method)
        if trained is None or not new or likeness is None:
            continue
        cells = []
        for measure in ("insertion", "deletion"):
            each = [gain(trained, one, measure).mean for one in new]
            mean = _interval(gain(trained, mean_score(new), measure), signed=True)
            cells.append(f"{mean}\n{min(each):+.3f} to {max(each):+.3f}")
        against = " ".join(_against_random(record, baseline, one) for one in new)
        rows.append((title(method), _interval(interval(likeness), signed=True), *cells, against))
    columns = ("map", "likeness\n", "insertion\ngain", "deletion\ngain", "against\nrandom")
    words = f"Maps of {record.settings.untrained} untrained networks"
    return Grid(f"{words}; baseline: {BASELINES[baseline]}", columns, tuple(rows))


def findings(record: Record) -> list[str]:
    """What can be said of each kind of map, in sentences."""
    sentences = []
    for baseline in record.settings.baselines:
        random = record.score(baseline, "random")
        if random is None:
            continue
        groups: dict[str, list[str]] = {words: [] for words in CURVES.values()}
        for method in record.settings.methods:
            score = record.score(baseline, method)
            if score is not None and method != "random":
                apart = told_apart(score, random)
                groups[CURVES[apart["insertion"], apart["deletion"]]].append(title(method))
        found = "; ".join(f"{words}: {', '.join(names)}" for words, names in groups.items() if names)
        sentences.append(f"Against random maps, baseline {baseline}, by insertion and deletion. {found}.")
    unmoved = [
        title(method)
        for method in record.settings.methods
        if (likeness := record.likeness(method)) is not None and interval(likeness).mean > 0.5
    ]
    if unmoved:
        sentences.append(
            "More like than unlike (rank correlation above 0.5) with trained and with untrained weights: "
            f"{', '.join(unmoved)}."
        )
    if record.initial_weights == "unknown":
        sentences.append(
            "How this training began is not known: all untrained networks have weights of standard deviation "
            "1 / sqrt(fan-in), so what parts their maps from the trained network's may be more than training."
        )
    sentences += [
        f"Shown the baseline {end.baseline} alone, the network answers {end.answer} for {end.part:.0%} of the images; "
        f"the class that is explained then has a probability of {end.probability:.2f} on average, "
        f"and {record.probability:.2f} with the whole image."
        for end in record.ends
    ]
    return sentences


def facts(record: Record) -> str:
    """Images, network, machine and date, in a sentence or two."""
    settings, known, machine = record.settings, record.weights, record.machine
    weights = f"weights trained on {known['data']}" if "data" in known else "weights of which nothing is known"
    if "test_accuracy" in known:
        weights += f", {known['test_accuracy']:.2%} right on its test images"
    if "epoch" in known:
        weights += f", epoch {known['epoch']}"
    patches = f"patches of {settings.patch} x {settings.patch} pixels, {settings.steps} steps"
    return (
        f"{record.date[:10]}, {settings.images} test images of {settings.data}, {record.right:.1%} of them right; "
        f"{weights}; {patches}; blur {settings.blur:g} pixels; ± half of the 95 % interval over images; "
        f"{machine['cpu']}, threads: {machine['threads']}, {record.seconds:.0f} s of processor time, "
        f"Python {machine['python']}, PyTorch {machine['torch']}, NumPy {machine['numpy']}, Captum {machine['captum']}."
    )


def page(record: Record) -> str:
    """All of it as Markdown, to be included."""
    blocks: Sequence[str] = (
        *(scores(record, baseline).markdown() for baseline in record.settings.baselines),
        randomisation(record).markdown(),
        "\n".join(f"- {sentence}" for sentence in findings(record)) + "\n",
        f"<small>{facts(record)}</small>\n",
    )
    return "\n".join(blocks)


def _interval(found: Interval, signed: bool) -> str:
    return f"{found.mean:{'+' if signed else ''}.3f}\n± {found.margin:.3f}"


def _against_random(record: Record, baseline: str, score: Score) -> str:
    random = record.score(baseline, "random")
    return "-" if random is None else _verdict(score, random)


def _verdict(score: Score, control: Score) -> str:
    """One sign a measure: better, worse, or not told apart."""
    return "".join({1: "+", 0: "o", -1: "−"}[sign] for sign in told_apart(score, control).values())  # noqa: RUF001
