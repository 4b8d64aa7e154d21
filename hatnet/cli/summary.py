"""The command `hatnet summary`: the architecture of a variant and what it costs."""

from json import dumps
from typing import Annotated

import tyro
from rich import box
from rich.table import Table

from hatnet.cli.console import cell, console
from hatnet.complexity.summary import PAPER, Row, describe, macs, peak, published_parameters, summarise
from hatnet.config import get_config


def summary(
    variant: Annotated[str, tyro.conf.Positional], image_size: tuple[int, int] = (224, 224), json: bool = False
) -> None:
    """Print the architecture of a variant and what it costs, stage by stage.

    Args:
        variant: tiny, small, medium, large or micro.
        image_size: height and width in pixels.
        json: print JSON and nothing else.
    """
    config, (height, width) = get_config(variant), image_size
    if json:
        print(dumps(describe(config, height, width), indent=2))
        return
    rows = summarise(config, height, width)
    console.print(_architecture(rows, f"HAT-Net {config.name.capitalize()} at {height} x {width} pixels"))
    console.print(_costs(rows, "Cost of one image: MACs in millions, MB in float32"))
    console.print("MACs without and with the products of attention, Q K^T and softmax V.")
    console.print("Inference: the most activations alive at once. Training: all that are kept.")
    if config.name in PAPER:
        parameters, flops = PAPER[config.name]
        without, together = macs(summarise(config))
        console.print(f"Paper, at 224 x 224: {parameters} M parameters, {flops} G FLOPs (it counts MACs).")
        console.print(f"Ours, at 224 x 224: {without / 1e9:.2f} G MACs without attention, {together / 1e9:.2f} G with.")
    published = published_parameters(config)
    if published is not None:
        console.print(f"{published:,} in the authors' file, which also holds the unused proj_norm.")


def _architecture(rows: list[Row], title: str) -> Table:
    table = _table(title, "part", "map", "C", "heads", "G1", "windows", "G2", "merged", "blocks", "parameters")
    for row in rows:
        layout = row.layout
        table.add_row(
            row.part,
            cell(layout.map if layout else None),
            cell(row.channels),
            cell(row.heads),
            cell(row.grid_size),
            cell(layout.windows if layout else None),
            cell(row.pool_size),
            cell(layout.merged if layout else None),
            cell(row.blocks),
            f"{row.parameters:,}",
        )
    table.add_section()
    table.add_row("total", *[""] * 8, f"{sum(row.parameters for row in rows):,}")
    return table


def _costs(rows: list[Row], title: str) -> Table:
    table = _table(title, "part", "MACs without", "MACs with", "inference", "training")
    for row in rows:
        table.add_row(
            row.part,
            _millions(row.macs),
            _millions(row.macs + row.attention_macs),
            "-" if row.live is None else _megabytes(row.live),
            _megabytes(row.saved),
        )
    table.add_section()
    memory = _megabytes(peak(rows)), _megabytes(sum(row.saved for row in rows))
    table.add_row("total, or most", *map(_millions, macs(rows)), *memory)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "part" else "right", no_wrap=True)
    return table


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def _megabytes(elements: int) -> str:
    return f"{elements * 4 / 1e6:,.1f}"
