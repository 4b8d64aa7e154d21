"""A record as tables and sentences, for the terminal and for a page."""

from collections.abc import Iterable

from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.bench.record import Record
from hatnet.studies.bench.roofline import Bounded, Roofline, roofline
from hatnet.studies.common.statistics import Quartiles, quartiles
from hatnet.studies.common.table import Grid, fold

GOAL = 0.65  # of a network's own roofline
UNITS = {"matrices": "GMAC/s", "depthwise": "GMAC/s", "silu": "G elements/s", "norm": "G elements/s", "memory": "GB/s"}


def results(record: Record) -> Grid:
    """One row per network, fastest first: throughput, latency, memory and the published accuracy."""
    rows = []
    for name in record.measured():
        network, values = NETWORKS[name], record.throughput(name)
        assert values is not None
        latency, memory = record.latency(name), record.memory(name)
        rows.append(
            (
                network.label,
                str(record.layout(name)),
                f"{_digits(values.median)}\n{_digits(values.low)}-{_digits(values.high)}",
                "-" if latency is None else _milliseconds(latency.median, latency.low, latency.high),
                "-" if memory is None or not _memory_counts(record) else f"{memory / 2**20:.0f}",
                "-" if network.accuracy is None else f"{network.accuracy:.1f}",
            )
        )
    columns = ("network", "layout", "images/s", "ms for\none image", "MiB per\nprocess", "top-1 %\n(published)")
    what = "Training" if record.settings.training else "Inference"
    return Grid(f"{what}: median and quartiles in each network's best layout", columns, tuple(rows))


def layouts(record: Record) -> Grid:
    """The throughput of each network in each layout of the pilot, in images per second."""
    candidates = record.settings.candidates()
    rows = []
    for name in record.measured():
        found = {visit.layout: visit for visit in record.of(name, [0]) if visit.batches}
        if found:
            rates = {layout: quartiles(visit.rates(record.settings.batch)).median for layout, visit in found.items()}
            rows.append(
                (NETWORKS[name].label, *(_digits(rates[each]) if each in rates else "-" for each in candidates))
            )
    columns = ("network", *map(str, candidates))
    return Grid("Pilot: images/s by layout (processes x threads)", columns, tuple(rows))


def rooflines(record: Record) -> list[Roofline]:
    """The rooflines of the networks that have one."""
    return [found for name in record.measured() if (found := roofline(record, name)) is not None]


def parts(found: Roofline) -> Grid:
    """One row per part of a network: time, bound, and the fraction of its roofline that it reaches."""
    rows = [_part_row(part, found.whole.seconds) for part in (*found.parts, found.whole)]
    columns = ("part", "ms per\nbatch", "% of\nall", "least\nms", "% of own\nroofline")
    return Grid(f"{NETWORKS[found.network].label}: time of each part and its lower bound", columns, tuple(rows))


def _part_row(part: Bounded, whole: float) -> tuple[str, ...]:
    reached = f"{100 * part.reached:.0f}" if part.bound and part.seconds else "-"
    share = f"{100 * part.seconds / whole:.1f}"
    return (part.part, _digits(1e3 * part.seconds), share, _digits(1e3 * part.bound) if part.bound else "-", reached)


def peaks(record: Record) -> Grid:
    """The peak rates of one process, by the network on whose shapes they were measured."""
    found = rooflines(record)
    rows = [
        (NETWORKS[each.network].label, str(record.layout(each.network)), *(_digits(each.rates[k] / 1e9) for k in UNITS))
        for each in found
    ]
    columns = ("network", "layout", *(f"{name}\n{unit}" for name, unit in UNITS.items()))
    return Grid("Peak rates of the machine, for one process of the layout", columns, tuple(rows))


def findings(record: Record) -> list[str]:
    """Sentences: our variants against the authors' formulation, others and recomputed blocks, and their rooflines."""
    sentences = []
    for name in record.measured():
        network = NETWORKS[name]
        if network.family == "hatnet" and not network.recompute:
            sentences += _against(record, name, f"authors-{name}", "the authors' formulation")
            sentences += _among_others(record, name)
        elif network.recompute:
            sentences += _against(record, name, network.model, "the same network with all activations kept")
            sentences += _against(record, name, f"authors-{network.model}", "the authors' formulation")
    for found in rooflines(record):
        reached = found.whole.reached
        sentences.append(
            f"{NETWORKS[found.network].label} reaches {100 * reached:.0f} % of its own roofline with the layout "
            f"{record.layout(found.network)} (goal: {100 * GOAL:.0f} %): the bound is "
            f"{_digits(record.settings.batch * _processes(record, found.network) / found.whole.bound)} images/s."
        )
    return sentences


def _processes(record: Record, name: str) -> int:
    layout = record.layout(name)
    return layout.processes if layout else 1


def _against(record: Record, name: str, other: str, words: str) -> list[str]:
    mine, theirs = record.throughput(name), record.throughput(other) if other in record.settings.networks else None
    if mine is None or theirs is None:
        return []
    sentence = f"{NETWORKS[name].label} computes {mine.median / theirs.median:.2f} times the images/s of {words}"
    memory, its = record.memory(name), record.memory(other)
    if memory is not None and its and _memory_counts(record):
        sentence += f" with {memory / its:.2f} times its memory"
    return [sentence + "."]


def _among_others(record: Record, name: str) -> list[str]:
    """The networks of timm that are slower, those that the noise hardly separates from this one, and those faster."""
    others = [other for other in record.measured() if NETWORKS[other].family == "timm"]
    mine, clauses = record.throughput(name), []
    assert mine is not None
    rates = {other: found for other in others if (found := record.throughput(other))}
    alike = [other for other, its in rates.items() if _overlap(mine, its)]
    apart = [other for other in rates if other not in alike]
    for words, group in (
        ("faster than", [other for other in apart if rates[other].median < mine.median]),
        ("about as fast as", alike),
        ("slower than", [other for other in apart if rates[other].median >= mine.median]),
    ):
        labels = [NETWORKS[other].label for other in group]
        if labels:
            clauses.append(f"{words} {', '.join(labels)}")
    return [f"{NETWORKS[name].label} is {'; '.join(clauses)}."] if clauses else []


def _overlap(one: Quartiles, other: Quartiles) -> bool:
    """Whether each median is between the quartiles of the other network."""
    return one.low <= other.median <= one.high and other.low <= one.median <= other.high


def _memory_counts(record: Record) -> bool:
    """A compiler needs main memory itself, more than many networks."""
    return not (record.settings.compile and record.settings.device == "cpu")


def refusals(record: Record) -> list[str]:
    """Networks that were left out, with the reason."""
    return [
        f"{NETWORKS[name].label}: {reason}" for name in record.settings.networks if (reason := record.refusal(name))
    ]


def facts(record: Record) -> str:
    """The machine, the date, the settings and the noise, in sentences."""
    settings, machine = record.settings, record.machine
    where = machine.get("gpu", f"{machine['cpu']}, {machine['threads of all']} threads on {machine['cores']} cores")
    load = f"{machine.get('load at start', 'unknown')} at the start, {machine.get('load at end', 'unknown')} at the end"
    timm = f", timm {machine['timm']}" if "timm" in machine else ""
    sentences = [
        f"{record.date[:10]}, {where}, {machine['system']}, PyTorch {machine['torch']}{timm}",
        f"{settings.dtype}, {'compiled' if settings.compile else 'eager'}, batch {settings.batch} per process, "
        f"{settings.size} x {settings.size} pixels, {settings.rounds} rounds of {settings.seconds:g} s",
    ]
    if settings.training:
        sentences.append("A step of training is a forward and a backward pass and a step of AdamW")
    if settings.device == "cpu":
        kept = "freed memory kept by each process" if settings.allocator == "keep" else "as the system sets it"
        sentences.append(f"Allocator: {kept}. Threads that wait: {machine.get('threads wait', 'unknown')}")
        sentences.append(f"Load average of the machine: {load}")
    spreads = [values.spread for name in record.measured() if (values := record.throughput(name)) is not None]
    if spreads:
        sentences.append(f"Noise: the quartiles are {quartiles(spreads).median:.0%} of the median apart")
    if not record.complete:
        sentences.append("Stopped before the end")
    return ". ".join(sentences) + "."


def sources(record: Record) -> str:
    """Where the accuracies were published, in one sentence per network."""
    named = [NETWORKS[name] for name in record.settings.networks if NETWORKS[name].accuracy]
    found = dict.fromkeys(f"{network.label} {network.accuracy} ({network.source})" for network in named)
    return "Published accuracies, top-1 in %: " + ", ".join(found) + "."


def page(record: Record) -> str:
    """The record as Markdown for a page: results and findings first, then the long tables in folded blocks."""
    blocks = [results(record).markdown(), _listed(findings(record))]
    if layouts(record).rows:
        blocks.append(layouts(record).folded())
    blocks += [parts(found).folded() for found in rooflines(record)]
    if peaks(record).rows:
        blocks.append(peaks(record).folded())
    if refusals(record):
        blocks.append(fold("Left out", _listed(refusals(record))))
    blocks.append(f"*Measured:* {facts(record)} {sources(record)}")
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _milliseconds(*seconds: float) -> str:
    median, low, high = (_digits(1e3 * value) for value in seconds)
    return f"{median}\n{low}-{high}"


def _digits(value: float) -> str:
    """About three digits, never with an exponent."""
    places = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f}"
