"""Table 6 of the paper beside the formula: G1 and G2 of HAT-Net Small in a detector, its cost and its accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatnet.complexity import network_costs, total
from hatnet.config import get_config
from hatnet.studies.common.table import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table6(path: Path) -> Grid:
    """The table, from a JSON file of the paper's rows: cost by the paper and by the formula, accuracy on COCO."""
    rows = _rows(path)
    default = next(row for row in rows if row.get("default"))
    cells = tuple(
        (
            _list(row["G1"]) + (" (default)" if row is default else ""),
            _list(row["G2"]),
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
    """MACs of HAT-Net Small at 800 x 1280 with these sizes, by the formula, without the detector's head."""
    config = get_config("small", grid_sizes=tuple(G1), pool_sizes=tuple(G2))
    return total(network_costs(config, 800, 1280)).total_macs


def draw_table6(path: Path) -> Figure:
    """Accuracy on COCO against cost for the rows of the table (matplotlib, extra `train`)."""
    import matplotlib
    from matplotlib.figure import Figure

    from hatnet.studies.common.drawing import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.8), layout="constrained")
        figure.set_label(
            "Box AP against FLOPs for six choices of G1 and G2, from Table 6 of the paper. Smaller cells cost more and "
            "gain up to half a point; larger windows cost more and gain nothing."
        )
        axes = figure.subplots()
        for row in _rows(path):
            default, same_windows = row.get("default"), row["G1"] == [8, 8, 8]
            colour = "#D55E00" if default else "#0072B2" if same_windows else "#009E73"
            axes.plot(row["flops"], row["box"], "s" if default else "o", color=colour)
            left = row["flops"] > 330 or row["G1"] == [4, 4, 4]  # of the point, where its right side has no room
            axes.annotate(
                f"$G_1$ {_list(row['G1'])};  $G_2$ {_list(row['G2'])}{'  (default)' if default else ''}",
                (row["flops"], row["box"]),
                xytext=(-7 if left else 7, 3 if same_windows else -9),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=7.5,
            )
        axes.set(
            xlabel="FLOPs in G, as the paper counts them", ylabel="box AP, points", xlim=(284, 342), ylim=(44.4, 45.9)
        )
        axes.set_title("Table 6 of the paper: Mask R-CNN with HAT-Net Small, COCO", fontsize=9)
    return figure


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values))
