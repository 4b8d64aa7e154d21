"""Make the tables and figures of the documentation again, from the records that are kept.

`python -m hatnet.studies.ablation [DOCS]` writes an SVG and two texts beside every `ablation-NAME.json` in
DOCS/measurements.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hatnet.files import write_whole
from hatnet.studies.ablation.draw import draw_record, save
from hatnet.studies.ablation.record import read
from hatnet.studies.ablation.tables import networks, page


def make(docs: Path, folder: Path) -> list[Path]:
    """Write into `folder` what follows from the records in `docs`.

    Returns:
        The files written.
    """
    written = []
    for path in sorted((docs / "measurements").glob("ablation-*.json")):
        record = read(path)
        figure, results, equal = (folder / f"{path.stem}{ending}" for ending in (".svg", ".txt", "-networks.txt"))
        save(draw_record(record), figure)
        write_whole(results, page(record).encode())
        write_whole(equal, networks(record).markdown().encode())
        written += [figure, results, equal]
    return written


if __name__ == "__main__":
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for file in make(docs, docs / "measurements"):
        print(file)
