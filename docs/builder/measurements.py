"""Tables and figures of the kept measurements, made again from the records in docs/measurements.

`PYTHONPATH=docs python -m builder.measurements`, run in the root of a checkout, rewrites them. The tests compare the
kept files with what this makes. Nothing is measured here.
"""

from pathlib import Path

from builder import precision, precision_tables
from hatnet.files import write_whole
from hatnet.studies import ablation, bench, faithfulness, scaling
from hatnet.studies.ablation import tables as ablation_tables
from hatnet.studies.ablation.draw import draw_record as draw_ablation
from hatnet.studies.ablation.draw_questions import draw_questions
from hatnet.studies.bench import tables as bench_tables
from hatnet.studies.bench.draw import draw_accuracy, draw_rooflines
from hatnet.studies.common.drawing import save
from hatnet.studies.faithfulness import tables as faithfulness_tables
from hatnet.studies.faithfulness.draw import draw_curves, draw_scores
from hatnet.studies.scaling import tables as scaling_tables
from hatnet.studies.scaling.draw import draw_record as draw_scaling
from hatnet.studies.scaling.draw_window_sizes import draw_table6, draw_window_sizes
from hatnet.studies.scaling.tables import table6


def make(docs: Path, folder: Path) -> list[Path]:
    """Write every table and figure that follows from the records and data in `docs`.

    Args:
        docs: the folder of the pages, with `measurements` and `data`.
        folder: where the files go.

    Returns:
        The files written.
    """
    return [
        *make_scaling(docs, folder),
        *make_bench(docs, folder),
        *make_window_sizes(docs, folder),
        *make_ablation(docs, folder),
        *make_questions(docs, folder),
        *make_faithfulness(docs, folder),
        *make_precision(docs, folder),
    ]


def make_scaling(docs: Path, folder: Path) -> list[Path]:
    """A figure and a text for every `scaling-NAME.json`."""
    written = []
    for path in sorted((docs / "measurements").glob("scaling-*.json")):
        record = scaling.read(path)
        figure, text = (folder / f"{path.stem}{suffix}" for suffix in (".svg", ".txt"))
        save(draw_scaling(record), figure)
        write_whole(text, scaling_tables.page(record).encode())
        written += [figure, text]
    return written


def make_bench(docs: Path, folder: Path) -> list[Path]:
    """A figure and a text for every `bench-NAME.json`, and a figure of the rooflines if it has any."""
    written = []
    for path in sorted((docs / "measurements").glob("bench-*.json")):
        record = bench.read(path)
        figure, rooflines, text = (folder / f"{path.stem}{suffix}" for suffix in (".svg", "-roofline.svg", ".txt"))
        save(draw_accuracy(record), figure)
        if bench_tables.rooflines(record):
            save(draw_rooflines(record), rooflines)
            written.append(rooflines)
        write_whole(text, bench_tables.page(record).encode())
        written += [figure, text]
    return written


def make_window_sizes(docs: Path, folder: Path) -> list[Path]:
    """The figure about G1 and G2, and Table 6 of the paper as a figure and a text."""
    data = docs / "data" / "table6.json"
    written = [folder / name for name in ("choice.svg", "table6.svg", "table6.txt")]
    save(draw_window_sizes(), written[0])
    save(draw_table6(data), written[1])
    write_whole(written[2], table6(data).markdown().encode())
    return written


def make_ablation(docs: Path, folder: Path) -> list[Path]:
    """A figure and two texts, the results and the networks, for every `ablation-NAME.json`.

    Records of the same networks, such as those of the three questions, share the text of the first one.
    """
    written, described = [], set()
    for path in sorted((docs / "measurements").glob("ablation-*.json")):
        record = ablation.read(path)
        figure, results, networks = (folder / f"{path.stem}{suffix}" for suffix in (".svg", ".txt", "-networks.txt"))
        save(draw_ablation(record), figure)
        write_whole(results, ablation_tables.page(record).encode())
        written += [figure, results]
        table = ablation_tables.networks(record).markdown()
        if table not in described:
            write_whole(networks, table.encode())
            written.append(networks)
            described.add(table)
    return written


def make_questions(_: Path, folder: Path) -> list[Path]:
    """A figure with an image of each question of the ablation; it needs no record."""
    written = folder / "questions.svg"
    save(draw_questions(), written)
    return [written]


def make_faithfulness(docs: Path, folder: Path) -> list[Path]:
    """Two figures and a text for `faithfulness.json`."""
    record = faithfulness.read(docs / "measurements" / "faithfulness.json")
    curves, scores, text = (folder / f"faithfulness{suffix}" for suffix in ("-curves.svg", "-scores.svg", ".txt"))
    save(draw_curves(record), curves)
    save(draw_scores(record), scores)
    write_whole(text, faithfulness_tables.page(record).encode())
    return [curves, scores, text]


def make_precision(docs: Path, folder: Path) -> list[Path]:
    """A figure and two texts, errors by depth and the limits of the tests, for `precision.json`."""
    record = precision.read(docs / "measurements" / "precision.json")
    figure, text, limits = (folder / f"precision{suffix}" for suffix in (".svg", ".txt", "-limits.txt"))
    save(precision.draw(record), figure)
    write_whole(text, precision_tables.depth_page(record).encode())
    write_whole(limits, precision_tables.limits(record).markdown().encode())
    return [figure, text, limits]


if __name__ == "__main__":
    docs = Path(__file__).parents[1]
    for file in make(docs, docs / "measurements"):
        print(file)
