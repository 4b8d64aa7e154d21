"""A record as tables and sentences, for the terminal and for a page; and Table 6 of the paper beside the formula."""

import json
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

from hatnet.complexity import network_costs, total
from hatnet.config import get_config
from hatnet.relatives import Attention
from hatnet.studies.common.table import Grid, fold
from hatnet.studies.scaling.fit import Comparison, crossings
from hatnet.studies.scaling.record import Point, Record


def compared(record: Record) -> list[tuple[Attention, list[Comparison]]]:
    """Each kind of H-MHSA that was measured, with its comparisons with plain attention, if there are any."""
    kinds = (attention for name, attention in record.settings.attentions().items() if name.startswith("h-mhsa"))
    return [(attention, found) for attention in kinds if (found := record.comparisons(attention.name))]


def times(record: Record) -> Grid:
    """One row per size: the median of each module's times, with the quartiles below."""
    attentions = record.settings.attentions()
    rows = []
    for size in sorted(record.settings.sizes):
        cells = (_times_of(record.point(name, size)) for name in attentions)
        rows.append((f"{size}\n{_map(record.settings.side(size))}", *cells))
    passes = "forward and backward" if record.settings.backward else "forward"
    columns = ("image\ntokens", *(f"{attention.title}\n{attention.setting}" for attention in attentions.values()))
    clock = "Processor time" if record.settings.clock == "cpu" else "Time"
    return Grid(f"{clock} of one {passes} call in ms: median and quartiles", columns, tuple(rows))


def growth(record: Record) -> Grid:
    """One row per module: the exponents of the measured times and of the formula, and the rate that links them."""
    rows = []
    for name, attention in record.settings.attentions().items():
        points, measured, formula = record.timed(name), record.exponent(name), record.formula_exponent(name)
        if not points:
            continue
        sizes = f"{points[0].size} to {points[-1].size}" if len(points) > 1 else f"{points[0].size}"
        cells = ("-", "-")
        if measured is not None and formula is not None:
            error = "" if isnan(measured.error) else f" ± {measured.error:.2f}"
            cells = (f"{measured.value:.2f}{error}", f"{formula.value:.2f}")
        rows.append((attention.label, sizes, *cells, f"{record.rate(name) / 1e9:.1f}"))
    columns = ("module", "images", "exponent\nmeasured", "exponent\nformula", "rate\nGMAC/s")
    return Grid("Time against the number of tokens N, as N^exponent", columns, tuple(rows))


def comparisons(record: Record) -> Grid:
    """H-MHSA compared with plain attention, one row per size."""
    rows = []
    for attention, found in compared(record):
        for each in found:
            side = record.settings.side(each.size)
            clock = f"{_ratio(each.clock.median)} ({_ratio(each.clock.low)} to {_ratio(each.clock.high)})"
            rows.append((attention.label, f"{each.size}", _map(side), _ratio(each.formula), clock, each.verdict))
    columns = ("module", "image", "tokens", "MACs\nplain / H", "time\nplain / H", "measured")
    return Grid("Ratio of plain attention to H-MHSA: above 1, H-MHSA is cheaper", columns, tuple(rows))


def findings(record: Record) -> list[str]:
    """Sentences on where H-MHSA is faster than plain attention and where it is slower."""
    sentences = []
    for attention, found in compared(record):
        clauses = []
        for verdict in ("slower", "even", "faster"):
            sizes = [str(comparison.size) for comparison in found if comparison.verdict == verdict]
            if len(sizes) == len(found) > 1:
                sizes = [f"every size, {sizes[0]} to {sizes[-1]}"]
            if sizes:
                clauses.append(f"{verdict} at {', '.join(sizes)}")
        sentence = f"Measured against plain attention, {attention.label} is {'; '.join(clauses)}."
        sentences.append(f"{sentence} {_where_they_cross(record, attention.name, found)}")
    return sentences


def refusals(record: Record) -> list[str]:
    """Points that were left out, with the reason."""
    attentions = record.settings.attentions()
    return [
        f"{attentions[point.module].label} at {point.size}: {point.refused}" for point in record.points if point.refused
    ]


def facts(record: Record) -> str:
    """The machine, the date, the settings and the noise, in sentences."""
    settings, machine, noise = record.settings, record.machine, record.noise()
    where = machine.get("gpu", f"{machine['cpu']}, {settings.threads} of {machine['cores']} cores")
    load = f"{machine.get('load at start', 'unknown')} at the start, {machine.get('load at end', 'unknown')} at the end"
    rounds = max((len(point.seconds) for point in record.points), default=0)
    sentences = [
        f"{record.date[:10]}, {where}, {machine['system']}, PyTorch {machine['torch']}, {settings.dtype}",
        f"C = {settings.channels}, heads {settings.heads}, batch {settings.batch}, {settings.stride} pixels per token "
        f"(stage {settings.stage}), {settings.attention} attention, {rounds} rounds",
        f"Times are {'processor time' if settings.clock == 'cpu' else 'wall-clock time'}",
        f"Load average of the machine: {load}",
    ]
    if noise is not None:
        sentences.append(
            f"Noise: the quartiles of a time are {noise.median:.0%} of its median apart (median over the points; "
            f"under {noise.high:.0%} for three quarters of them)"
        )
    if not record.complete:
        sentences.append("Stopped before the last round")
    return ". ".join(sentences) + "."


def page(record: Record) -> str:
    """The record as Markdown for a page: findings first, then the long tables in folded blocks."""
    blocks = ["\n".join(f"- {sentence}" for sentence in findings(record)), growth(record).markdown()]
    blocks += [comparisons(record).folded(), times(record).folded()]
    left_out = refusals(record)
    if left_out:
        blocks.append(fold("Left out", "\n".join(f"- {reason}" for reason in left_out)))
    blocks.append(f"*Measured:* {facts(record)}")
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def formula_crossing(record: Record, name: str) -> tuple[int, int]:
    """The sides of two square maps: the smallest with fewer MACs than plain attention, and from which on always fewer.

    They differ where the padding of windows matters. Maps up to the largest measured are considered.
    """
    attentions = record.settings.attentions()
    plain = replace(record.settings, modules=("mhsa",)).attentions()["mhsa"]  # it may not have been measured
    costlier = [
        side
        for side in range(1, record.settings.side(max(record.settings.sizes)) + 1)
        if attentions[name].cost(side, side).total_macs >= plain.cost(side, side).total_macs
    ]
    return next(side for side in range(1, len(costlier) + 2) if side not in costlier), max(costlier, default=0) + 1


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The paper's rows, from a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def table6(path: Path) -> Grid:
    """The table: cost by the paper and by the formula, accuracy on COCO."""
    rows = read_rows(path)
    default = next(row for row in rows if row.get("default"))
    default_macs = dense_macs(default["G1"], default["G2"])
    cells = tuple(
        (
            listed(row["G1"]) + (" (default)" if row is default else ""),
            listed(row["G2"]),
            f"{row['flops']}",
            f"{row['flops'] - default['flops']:+d}",
            f"{(dense_macs(row['G1'], row['G2']) - default_macs) / 1e9:+.1f}",
            f"{row['box']}",
            f"{row['mask']}",
        )
        for row in rows
    )
    columns = ("G1", "G2", "FLOPs, G\n(paper)", "to default\n(paper)", "to default\n(formula)", "box AP", "mask AP")
    return Grid("Table 6 of the paper: HAT-Net Small in Mask R-CNN at 800 x 1280", columns, cells)


def dense_macs(G1: list[int], G2: list[int]) -> int:
    """MACs of HAT-Net Small at 800 x 1280 with these sizes, by the formula, without the detector's head."""
    config = get_config("small", grid_sizes=tuple(G1), pool_sizes=tuple(G2))
    return total(network_costs(config, 800, 1280)).total_macs


def listed(values: list[int]) -> str:
    """Sizes as printed: "8, 8, 8"."""
    return ", ".join(map(str, values))


def _where_they_cross(record: Record, name: str, found: list[Comparison]) -> str:
    first, always = formula_crossing(record, name)
    sentence = f"By the formula it has fewer MACs from {_map(first)} tokens on"
    if first < always:
        sentence = f"By the formula it first has fewer MACs at {_map(first)} tokens, and always from {_map(always)} on"
    tokens = crossings([each.tokens for each in found], [each.clock.median for each in found])
    if len(tokens) == 1:
        return f"{sentence}; the measured times cross near {_map(round(tokens[0] ** 0.5))}."
    return f"{sentence}; the measured times cross more than once." if tokens else f"{sentence}."


def _map(side: int) -> str:
    return f"{side}x{side}"


def _times_of(point: Point) -> str:
    if not point.seconds:
        return "refused" if point.refused else "-"
    values = point.quartiles
    if values.high >= 10:  # in seconds, so that seven columns fit into 80 characters
        return f"{_digits(values.median)} s\n{_digits(values.low)}-{_digits(values.high)} s"
    return f"{_digits(1e3 * values.median)}\n{_digits(1e3 * values.low)}-{_digits(1e3 * values.high)}"


def _ratio(value: float) -> str:
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _digits(value: float) -> str:
    """About three digits, never with an exponent."""
    places = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f}"
