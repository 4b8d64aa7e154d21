"""Make the tables and figures of the documentation again, from the records that are kept.

`python -m hatnet.studies.scaling [DOCS]` writes an SVG and a text beside every `scaling-NAME.json` in
DOCS/measurements, and the figures and the table about G1 and G2.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hatnet.files import write_whole
from hatnet.studies.common.drawing import save
from hatnet.studies.scaling.draw import draw_choice, draw_record, draw_table6
from hatnet.studies.scaling.record import read
from hatnet.studies.scaling.tables import page, table6


def make(docs: Path, folder: Path) -> list[Path]:
    """Write into `folder` what follows from the records and data in `docs`.

    Returns:
        The files written.
    """
    written = []
    for path in sorted((docs / "measurements").glob("scaling-*.json")):
        record = read(path)
        save(draw_record(record), folder / f"{path.stem}.svg")
        write_whole(folder / f"{path.stem}.txt", page(record).encode())
        written += [folder / f"{path.stem}.svg", folder / f"{path.stem}.txt"]
    data = docs / "data" / "table6.json"
    save(draw_choice(), folder / "choice.svg")
    save(draw_table6(data), folder / "table6.svg")
    write_whole(folder / "table6.txt", table6(data).markdown().encode())
    return [*written, folder / "choice.svg", folder / "table6.svg", folder / "table6.txt"]


if __name__ == "__main__":
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for file in make(docs, docs / "measurements"):
        print(file)
