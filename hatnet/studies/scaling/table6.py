"""Table 6 of the paper beside the formula: G1 and G2 of HAT-Net Small in a detector, its cost and its accuracy."""

import json
from pathlib import Path
from typing import Any

from hatnet.complexity import network_costs, total
from hatnet.config import get_config
from hatnet.studies.common.table import Grid


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
