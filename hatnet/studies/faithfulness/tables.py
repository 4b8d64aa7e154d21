"""Tables and sentences that summarise a record, for the terminal and for a page."""

from hatnet.studies.common import table
from hatnet.studies.common.table import Grid
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.patches import BASELINES
from hatnet.studies.faithfulness.record import MEASURES, Record, Score
from hatnet.studies.faithfulness.statistics import Interval, improvement, interval, mean_score, verdicts

CONTROLS = {"random": "random", "brightness": "image"}  # methods to compare with, and their short titles

# The verdicts on insertion and deletion against random maps, in words.
CURVES = {
    (1, 1): "better by both",
    (1, 0): "better by insertion alone",
    (0, 1): "better by deletion alone",
    (0, 0): "no significant difference",
    (1, -1): "better by insertion, worse by deletion",
    (-1, 1): "worse by insertion, better by deletion",
    (-1, 0): "worse by insertion",
    (0, -1): "worse by deletion",
    (-1, -1): "worse by both",
}


def title(method: str) -> str:
    """Title of a method, or of the order in which occlusion ranks the patches."""
    return METHODS[method].title if method in METHODS else "occlusion itself"


def scores(record: Record, baseline: str) -> Grid:
    """Table of every kind of map by every measure, with half of the 95 % interval and the verdicts on the controls."""
    trained, rows = record.trained(baseline), []
    controls = [trained[name] for name in CONTROLS if name in trained]
    for method, score in trained.items():
        signed = {"occlusion", "size"}
        cells = [_plus_minus(interval(getattr(score, measure)), measure in signed) for measure in MEASURES]
        if method == "occlusion":
            cells[MEASURES.index("occlusion")] = "1"
        against = ["-" if control is score else _signs(score, control) for control in controls]
        rows.append((title(method), *cells, *against))
    columns = ("map", "insertion\nhigh", "deletion\nlow", "occlusion\ndrop", "occlusion\nsize")
    against_columns = (f"against\n{CONTROLS[control.method]}" for control in controls)
    return Grid(f"Baseline: {BASELINES[baseline]}", (*columns, *against_columns), tuple(rows))


def randomisation(record: Record) -> Grid:
    """Table of the maps of untrained networks: their similarity to the trained one's, and what training adds."""
    baseline, rows = record.settings.baselines[0], []
    trained = record.trained(baseline)
    for method, score in trained.items():
        untrained, similarity = record.untrained(baseline, method), record.similarity(method)
        if similarity is None:
            continue
        gains = [_gain(score, untrained, measure) for measure in ("insertion", "deletion")]
        against = " ".join(_signs(each, trained["random"]) if "random" in trained else "-" for each in untrained)
        rows.append((title(method), _plus_minus(interval(similarity), signed=True), *gains, against))
    columns = ("map", "similarity\n", "insertion\ngain", "deletion\ngain", "against\nrandom")
    words = f"Maps of {record.settings.untrained} untrained networks"
    return Grid(f"{words}; baseline: {BASELINES[baseline]}", columns, tuple(rows))


def findings(record: Record) -> list[str]:
    """Sentences on each kind of map, on the untrained networks, and on the baselines."""
    sentences = [_against_random(record, baseline) for baseline in record.settings.baselines]
    similar = [
        title(method)
        for method in record.settings.methods
        if (similarity := record.similarity(method)) is not None and interval(similarity).mean > 0.5
    ]
    if similar:
        sentences.append(
            "Similar with trained and with untrained weights (rank correlation above 0.5): " + ", ".join(similar) + "."
        )
    if record.initial_weights == "unknown":
        sentences.append(
            "The initial weights of this training are not known. All untrained networks have weights of standard "
            "deviation 1 / sqrt(fan-in), so more than training may separate their maps from the trained network's."
        )
    sentences += [
        f"For the baseline {end.baseline} alone, the network predicts {end.answer} in {end.part:.0%} of the images. "
        f"The explained class then has a mean probability of {end.probability:.2f}, compared with "
        f"{record.probability:.2f} for the whole image."
        for end in record.ends
    ]
    return [sentence for sentence in sentences if sentence]


def facts(record: Record) -> str:
    """A sentence with the date, the images, the network and the machine."""
    settings, known, machine = record.settings, record.weights, record.machine
    weights = f"weights trained on {known['data']}" if "data" in known else "weights of unknown origin"
    if "test_accuracy" in known:
        weights += f", test accuracy {known['test_accuracy']:.2%}"
    if "epoch" in known:
        weights += f", epoch {known['epoch']}"
    patches = f"patches of {settings.patch} x {settings.patch} pixels, {settings.steps} steps"
    return (
        f"{record.date[:10]}, {settings.images} test images of {settings.data}, {record.right:.1%} of them classified "
        f"correctly; {weights}; {patches}; blur {settings.blur:g} pixels; ± half of the 95 % interval over images; "
        f"{machine['cpu']}, threads: {machine['threads']}, {record.seconds:.0f} s of processor time, "
        f"Python {machine['python']}, PyTorch {machine['torch']}, NumPy {machine['numpy']}, Captum {machine['captum']}."
    )


def page(record: Record) -> str:
    """Markdown for the page: the tables, the findings and the facts."""
    return table.page(all_tables(record), findings(record), facts(record))


def all_tables(record: Record) -> list[Grid]:
    """The scores for each baseline, and the maps of untrained networks."""
    return [*(scores(record, baseline) for baseline in record.settings.baselines), randomisation(record)]


def _against_random(record: Record, baseline: str) -> str:
    """A sentence that groups the methods by their verdicts against random maps; empty without random maps."""
    trained = record.trained(baseline)
    if "random" not in trained:
        return ""
    groups: dict[str, list[str]] = {words: [] for words in CURVES.values()}
    for method, score in trained.items():
        if method not in ("random", "occlusion"):
            found = verdicts(score, trained["random"])
            groups[CURVES[found["insertion"], found["deletion"]]].append(title(method))
    listed = "; ".join(f"{words}: {', '.join(names)}" for words, names in groups.items() if names)
    return (
        f"Maps against random maps, by insertion and deletion, baseline {baseline}. {listed[:1].upper()}{listed[1:]}."
    )


def _plus_minus(found: Interval, signed: bool) -> str:
    return f"{found.mean:{'+' if signed else ''}.3f}\n± {found.margin:.3f}"


def _gain(trained: Score, untrained: list[Score], measure: str) -> str:
    """Improvement over the mean of the untrained networks, and its range over the networks."""
    each = [improvement(trained, score, measure).mean for score in untrained]
    mean = improvement(trained, mean_score(untrained), measure)
    return f"{_plus_minus(mean, signed=True)}\n{min(each):+.3f} to {max(each):+.3f}"


def _signs(score: Score, control: Score) -> str:
    """One sign per measure: + for better, − for worse, o for no significant difference."""
    return "".join({1: "+", 0: "o", -1: "−"}[sign] for sign in verdicts(score, control).values())  # noqa: RUF001
