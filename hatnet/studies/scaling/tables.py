"""What a record says, as tables: for the terminal by rich, for a page as Markdown."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatnet.complexity import network, total
from hatnet.config import get_config
from hatnet.studies.common.statistics import Quartiles
from hatnet.studies.common.table import Grid, fold
from hatnet.studies.scaling.fit import Duel, crossings
from hatnet.studies.scaling.record import Record

if TYPE_CHECKING:
    pass


def times(record: Record) -> Grid:
    """A row a size: the median, and the quartiles under it, of each module."""
    contenders = record.settings.contenders()
    rows = []
    for size in sorted(record.settings.sizes):
        side = record.settings.side(size)
        cells = []
        for name in contenders:
            point = record.point(name, size)
            cells.append(_milliseconds(point.quartiles) if point.seconds else "refused" if point.refused else "-")
        rows.append((f"{size}\n{side}x{side}", *cells))
    what = "forward and backward" if record.settings.backward else "forward"
    columns = ("image\ntokens", *(f"{contender.title}\n{contender.setting}" for contender in contenders.values()))
    clock = "Processor time" if record.settings.clock == "cpu" else "Time"
    return Grid(f"{clock} of one {what} call in ms: median and quartiles", columns, tuple(rows))


def growth(record: Record) -> Grid:
    """A row a module: the exponents of clock and formula, and the rate that ties them."""
    rows = []
    for name, contender in record.settings.contenders().items():
        points, clock, formula = record.timed(name), record.exponent(name), record.formula_exponent(name)
        if not points:
            continue
        sizes = f"{points[0].size} to {points[-1].size}" if len(points) > 1 else f"{points[0].size}"
        cells = ("-", "-")
        if clock is not None and formula is not None:
            error = "" if isnan(clock.error) else f" ± {clock.error:.2f}"
            cells = (f"{clock.value:.2f}{error}", f"{formula.value:.2f}")
        rows.append((contender.label, sizes, *cells, f"{record.rate(name) / 1e9:.1f}"))
    columns = ("module", "images", "exponent\nby the clock", "exponent\nby the formula", "rate\nGMAC/s")
    return Grid("Time against the number of tokens N, as N^exponent", columns, tuple(rows))


def duels(record: Record) -> Grid:
    """H-MHSA against plain attention, a row a size."""
    rows = []
    for name, contender in record.settings.contenders().items():
        if not name.startswith("h-mhsa"):
            continue
        for duel in record.duels(name):
            side = record.settings.side(duel.size)
            clock = f"{_ratio(duel.clock.median)} ({_ratio(duel.clock.low)} to {_ratio(duel.clock.high)})"
            rows.append((contender.label, f"{duel.size}", f"{side}x{side}", _ratio(duel.formula), clock, duel.verdict))
    columns = ("module", "image", "tokens", "MACs\nplain / H", "time\nplain / H", "by the clock")
    return Grid("Plain attention over H-MHSA: above 1, H-MHSA is cheaper", columns, tuple(rows))


def findings(record: Record) -> list[str]:
    """Where H-MHSA beats plain attention and where it loses, in sentences."""
    sentences = []
    for name, contender in record.settings.contenders().items():
        results = record.duels(name) if name.startswith("h-mhsa") else []
        if not results:
            continue
        clauses = []
        for verdict, words in (("slower", "slower at"), ("even", "even at"), ("faster", "faster at")):
            sizes = [str(duel.size) for duel in results if duel.verdict == verdict]
            if len(sizes) == len(results):
                sizes = [f"every size measured, {sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else sizes[0]]
            if sizes:
                clauses.append(f"{words} {', '.join(sizes)}")
        sentence = f"By the clock {contender.label} is, against plain attention, {'; '.join(clauses)}."
        sentences.append(f"{sentence} {_where_they_cross(record, name, results)}")
    return sentences


def refusals(record: Record) -> list[str]:
    """What was left out, and why."""
    contenders = record.settings.contenders()
    return [
        f"{contenders[point.module].label} at {point.size}: {point.refused}" for point in record.points if point.refused
    ]


def facts(record: Record) -> str:
    """The machine, the day, the settings and the noise."""
    settings, machine, noise = record.settings, record.machine, record.noise()
    where = machine.get("gpu", f"{machine['cpu']}, {settings.threads} of {machine['cores']} cores")
    load = f"{machine.get('load at start', 'unknown')} at the start, {machine.get('load at end', 'unknown')} at the end"
    rounds = max((len(point.seconds) for point in record.points), default=0)
    parts = [
        f"{record.date[:10]}, {where}, {machine['system']}, PyTorch {machine['torch']}, {settings.dtype}",
        f"C = {settings.channels}, heads {settings.heads}, batch {settings.batch}, "
        f"{settings.stride} pixels a token (stage {settings.stage}), {settings.attention} attention, {rounds} rounds",
        f"the clock is {'the processor time of the process' if settings.clock == 'cpu' else 'that on the wall'}",
        f"load of the machine {load}",
    ]
    if noise is not None:
        parts.append(
            f"noise: the quartiles of a time lie {noise.median:.0%} of it apart (median over the points; "
            f"three quarters of them under {noise.high:.0%})"
        )
    if not record.complete:
        parts.append("stopped before the last round")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def page(record: Record) -> str:
    """All of it as Markdown, to be included: sentences first, the long tables folded."""
    blocks = ["\n".join(f"- {sentence}" for sentence in findings(record)), growth(record).markdown()]
    blocks += [duels(record).folded(), times(record).folded()]
    left_out = refusals(record)
    if left_out:
        blocks.append(fold("Left out", "\n".join(f"- {reason}" for reason in left_out)))
    blocks.append(f"*Measured:* {facts(record)}")
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def table6(path: Path) -> Grid:
    """Table 6 of the paper beside the formula: G1, G2, cost and accuracy on COCO."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    default = next(row for row in rows if row.get("default"))
    cells = tuple(
        (
            ", ".join(map(str, row["G1"])) + (" (default)" if row is default else ""),
            ", ".join(map(str, row["G2"])),
            f"{row['flops']}",
            f"{row['flops'] - default['flops']:+d}",
            f"{(dense_macs(row['G1'], row['G2']) - dense_macs(default['G1'], default['G2'])) / 1e9:+.1f}",
            f"{row['box']}",
            f"{row['mask']}",
        )
        for row in rows
    )
    columns = ("G1", "G2", "FLOPs, G\n(paper)", "to default\n(paper)", "to default\n(formula)", "box AP", "mask AP")
    return Grid("Table 6 of the paper: HAT-Net Small in Mask R-CNN at 800 x 1280", columns, cells)


def dense_macs(G1: list[int], G2: list[int]) -> int:
    """MACs of HAT-Net Small at 800 x 1280 with these sizes, by the formula; the detector's head is not in it."""
    config = get_config("small", grid_sizes=tuple(G1), pool_sizes=tuple(G2))
    return total(network(config, 800, 1280)).total_macs


def formula_crossing(record: Record, name: str) -> tuple[int, int]:
    """Sides of square maps: the smallest on which a module has fewer MACs than plain attention, and the smallest from
    which on it always has, up to the largest asked for. They differ where padded windows weigh.
    """
    contenders = record.settings.contenders()
    # plain attention may not be among them
    plain = replace(record.settings, modules=("mhsa",)).contenders()["mhsa"]
    dearer = [
        side
        for side in range(1, record.settings.side(max(record.settings.sizes)) + 1)
        if contenders[name].cost(side, side).total_macs >= plain.cost(side, side).total_macs
    ]
    return next(side for side in range(1, len(dearer) + 2) if side not in dearer), max(dearer, default=0) + 1


def _where_they_cross(record: Record, name: str, results: list[Duel]) -> str:
    first, always = formula_crossing(record, name)
    sentence = f"By the formula it has fewer MACs from {_map(first)} tokens on"
    if first < always:
        sentence = f"By the formula it first has fewer MACs at {_map(first)} tokens, and always from {_map(always)} on"
    found = crossings([duel.tokens for duel in results], [duel.clock.median for duel in results])
    if len(found) == 1:
        return f"{sentence}; by the clock they cross near {_map(round(found[0] ** 0.5))}."
    return f"{sentence}; by the clock they cross more than once." if found else f"{sentence}."


def _map(side: int) -> str:
    return f"{side}x{side}"


def _milliseconds(values: Quartiles) -> str:
    if values.high >= 10:  # so that seven columns stay within 80 characters
        return f"{_digits(values.median)} s\n{_digits(values.low)}-{_digits(values.high)} s"
    return f"{_digits(1e3 * values.median)}\n{_digits(1e3 * values.low)}-{_digits(1e3 * values.high)}"


def _ratio(value: float) -> str:
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _digits(value: float) -> str:
    """About three digits, without an exponent."""
    places = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f}"
