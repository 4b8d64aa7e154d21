"""The command `hatnet faithfulness` (extra `studies`)."""

from pathlib import Path
from typing import Annotated

import tyro

from hatnet.cli.console import console, plain, print_path, progress
from hatnet.cli.output_files import require_writable
from hatnet.cli.study import reading, require_matplotlib, require_used, show
from hatnet.data import open_data
from hatnet.device import use_threads
from hatnet.files import write_whole
from hatnet.maps.memory import memory_limit
from hatnet.studies.faithfulness import tables
from hatnet.studies.faithfulness.preparation import check_study, patches_per_image
from hatnet.studies.faithfulness.record import Record, Settings, read, write
from hatnet.studies.faithfulness.study import count_steps, study
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import find_source

RECORD, REPORT = ".json", (".txt", "-curves.svg", "-scores.svg")  # endings of the record, and of the files made from it
DEFAULTS = Settings()


def faithfulness(
    settings: Annotated[Settings, tyro.conf.arg(name="")] = DEFAULTS,
    weights: str = "fashion-mnist",
    out: Path | None = None,
    record: Path | None = None,
    page: bool = False,
    data_dir: Path = Path("data"),
    download: bool = False,
    memory: float = 2.0,
    threads: int = 1,
) -> None:
    """Test attention maps: remove the patches that a map marks as important, and measure how the prediction changes.

    Writes OUT.json with the scores of every image, OUT.txt with tables for a page, OUT-curves.svg and OUT-scores.svg.
    Images are prepared as for hatnet evaluate.

    Args:
        settings: methods, baselines, number of images and so on.
        weights: fashion-mnist (comes with the package), a file of ours (.safetensors), or the folder of a run.
        out: path of the files without an ending; faithfulness where not given.
        record: a kept record to print and draw instead of a new study. Give --out to write the files made from it. No
            other option goes with it except --page.
        page: print only the tables, as Markdown; needs --record, excludes --out.
        data_dir: folder of the data sets.
        download: download the data set if it is missing.
        memory: GiB that attention weights and their gradients may take; a small limit makes batches smaller.
        threads: number of CPU threads of PyTorch.
    """
    given = dict(locals())
    if record is not None:
        require_used(faithfulness, given, used=("page", "out"))
        with reading(record):
            _show_record(record, out, page)
        return
    if page:
        raise ValueError("--page prints the tables of a kept record: give it with --record FILE.json")
    limit = memory_limit(memory)
    use_threads(threads)
    out = out or Path("faithfulness")
    _require_files(out, (RECORD, *REPORT), existing_weights(weights))
    source = find_source(weights)
    data = open_data(settings.data, data_dir, download)
    check_study(settings, source, data, limit)
    patches = patches_per_image(settings, source)
    images = f"{settings.images} test images of {settings.data}"
    console.print(f"{plain(source.words)} {images}, {patches} patches per image.")
    with progress("faithfulness", total=count_steps(settings)) as step:
        found = study(settings, source, data, step, limit)
    write(found, _path(out, RECORD))  # first, so that a closed terminal loses nothing
    print_path(_path(out, RECORD))
    _report(found, out)


def _show_record(path: Path, out: Path | None, page: bool) -> None:
    """Print a kept record, as Markdown if `page`, and write the files made from it if `out` is given."""
    if page and out is not None:
        raise ValueError("--page prints tables and writes no files: leave out either --page or --out")
    if out is not None:
        _require_files(out, REPORT, path)
    record = read(path)
    if page:
        print(tables.page(record), end="")
        return
    _report(record, out)


def _report(record: Record, out: Path | None) -> None:
    """Write the tables and the figures and print their paths, if `out` is given; then print the results."""
    if out is not None:
        from hatnet.studies.common.drawing import save
        from hatnet.studies.faithfulness.draw import draw_curves, draw_scores

        text, curves, scores = paths = [_path(out, ending) for ending in REPORT]
        write_whole(text, tables.page(record).encode())
        save(draw_curves(record), curves)
        save(draw_scores(record), scores)
        for path in paths:
            print_path(path)
    show(tables.all_tables(record), (*tables.findings(record), tables.facts(record)))


def _require_files(out: Path, endings: tuple[str, ...], source: Path) -> None:
    """Check before the work that all files can be written and drawn, and that none overwrites `source`."""
    require_writable("--out", out, "faithfulness")
    for ending in endings:
        require_writable("--out", _path(out, ending), "faithfulness", inputs=(source,))
    require_matplotlib()


def _path(out: Path, ending: str) -> Path:
    return out.with_name(out.name + ending)
