"""The command `hatnet summary`: the architecture of a variant and what it costs."""

from dataclasses import replace
from json import dumps
from typing import Annotated, Literal

import tyro
from rich import box
from rich.table import Table

from hatnet.cli.console import cell, console
from hatnet.complexity.dense import PAPER_SIZES, PYRAMID
from hatnet.complexity.summary import Row, describe, kept, macs, peak, published, published_parameters, summarise
from hatnet.config import TASKS, get_config

Task = Literal["classification", "segmentation", "detection", "instances"]


def summary(
    variant: Annotated[str, tyro.conf.Positional],
    image_size: tuple[int, int] | None = None,
    task: Task = "classification",
    width: int | None = None,
    json: bool = False,
) -> None:
    """Print the architecture of a variant and what it costs, stage by stage.

    Args:
        variant: tiny, small, medium, large or micro.
        image_size: height and width in pixels. None is the paper's size: 224 224, 512 512 for segmentation, 800 1280
            for detection and instances.
        task: classification, segmentation (Semantic FPN), detection (RetinaNet) or instances (Mask R-CNN). The last
            three have the paper's G1 and G2 for dense tasks, and the classes of ADE20K or COCO.
        width: of the last three: channels of the pyramid, an even number; 256 in the paper.
        json: print JSON and nothing else.
    """
    config = get_config(variant)
    if task != "classification":
        config = replace(config.with_dense_windows(), num_classes=TASKS[task])
    sizes = PAPER_SIZES.get(task, (224, 224))
    height, across = image_size or sizes
    if width is not None and task == "classification":
        raise ValueError(f"--width {width} is for segmentation, detection and instances: give --task, too")
    pyramid = PYRAMID if width is None else width
    if json:
        print(dumps(describe(config, height, across, task, pyramid), indent=2))
        return
    rows = summarise(config, height, across, task, pyramid)
    words = "" if task == "classification" else f" for {task}"
    console.print(_architecture(rows, f"HAT-Net {config.name.capitalize()}{words} at {height} x {across} pixels"))
    console.print(_costs(rows, "Cost of one image: MACs in millions, MB in float32"))
    console.print("MACs without and with the products of attention, Q K^T and softmax V.")
    console.print("Inference: the most activations alive at once. Training: all that are kept.")
    if task != "classification":
        console.print("Memory is that of the HAT-Net; the pyramid and the heads are not counted.")
    paper = published(config, task)
    if paper is not None:
        at = "{} x {}".format(*sizes)
        without, together = macs(summarise(config, *sizes, task, pyramid))
        console.print(f"Paper, at {at}: {paper[0]} M parameters, {paper[1]} G FLOPs (it counts MACs).")
        console.print(f"Ours, at {at}: {without / 1e9:.2f} G MACs without attention, {together / 1e9:.2f} G with.")
    in_file = published_parameters(config)
    if in_file is not None and task == "classification":
        console.print(f"{in_file:,} in the authors' file, which also holds the unused proj_norm.")


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
            "-" if row.saved is None else _megabytes(row.saved),
        )
    table.add_section()
    memory = _megabytes(peak(rows)), _megabytes(kept(rows))
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
