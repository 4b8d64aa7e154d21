"""The command `hatnet faithfulness` (extras `cli` and `train`, and Captum)."""

from __future__ import annotations

from math import inf
from pathlib import Path

import torch

from hatnet.cli.console import console, progress, require_used
from hatnet.cli.study import require_matplotlib, require_writable, show
from hatnet.data import open_data
from hatnet.files import write_whole
from hatnet.studies.faithfulness import tables
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.record import Record, Settings, read, write
from hatnet.studies.faithfulness.study import check, patches, pieces, study
from hatnet.weights.source import find_source

RECORD, DRAWN = ".json", (".txt", "-curves.svg", "-scores.svg")  # what is written, and what is made of it


def faithfulness(
    checkpoint: Path | None = None,
    data: str = "fashion-subset",
    images: int = 120,
    methods: tuple[str, ...] = tuple(METHODS),
    baselines: tuple[str, ...] = ("blur", "mean"),
    patch: int = 4,
    steps: int = 7,
    seed: int = 0,
    out: Path | None = None,
    record: Path | None = None,
    page: bool = False,
    data_dir: Path = Path("data"),
    download: bool = False,
    memory: float = 2.0,
    threads: int = 1,
) -> None:
    """Put attention maps to the test: what happens to the answer when what they point at is taken away.

    Writes OUT.json with every image's scores, OUT.txt with tables for a page, OUT-curves.svg and OUT-scores.svg.
    Images are prepared as hatnet evaluate does it.

    Args:
        checkpoint: weights of ours (.safetensors); micro trained on Fashion-MNIST, which comes with the package, where
            none are given.
        data: whose test images are used.
        images: how many, equally many of each class.
        methods: class-map, rollout, last-attention, grad-cam, grad-cam-early, gradient-input, gradient, brightness,
            random.
        baselines: what takes the place of patches: blur, mean, black.
        patch: side in pixels.
        steps: of a curve.
        seed: of untrained weights, random maps and the order of equal scores.
        out: where to, without a suffix; faithfulness where not given.
        record: a kept record to print and draw instead of a new study; files are made of it where --out is given. No
            other setting goes with it but --page.
        page: print the tables as Markdown and nothing else; with --record, without --out.
        data_dir: where data sets are kept.
        download: fetch the data set if it is not there.
        memory: GiB that attention weights, and gradients with them, may take; fewer images are taken at once to stay
            within.
        threads: of PyTorch.
    """
    given = dict(locals())
    if page and record is None:
        raise ValueError("--page prints the tables of a kept record: give it with --record FILE.json")
    if record is not None:
        require_used(faithfulness, given, used=("page", "out"))
        if page and out is not None:
            raise ValueError("--page prints tables and writes no files: leave out either --page or --out")
        if out is not None:
            _require_writable(out, DRAWN, record)
        kept = read(record)
        if page:
            print(tables.page(kept), end="")
        else:
            if out is not None:
                _draw(kept, out)
            _show(kept)
        return
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    if not 0 < memory < inf:
        raise ValueError(f"memory={memory!r} must be a number of GiB above 0")
    settings = Settings(
        data=data, images=images, methods=methods, baselines=baselines, patch=patch, steps=steps, seed=seed
    )
    out = out or Path("faithfulness")
    _require_writable(out, (RECORD, *DRAWN), checkpoint)
    torch.set_num_threads(threads)
    source = find_source(checkpoint, None if checkpoint else "fashion-mnist")
    opened, limit = open_data(data, data_dir, download), int(memory * 2**30)
    check(settings, source, opened, limit)
    console.print(f"{source.words} {images} test images of {data}, {patches(settings, source)} patches each.")
    with progress("faithfulness", total=pieces(settings)) as step:
        found = study(settings, source, opened, step, limit)
    write(found, _named(out, RECORD))  # first, so that nothing is lost with the terminal
    print(_named(out, RECORD).resolve())
    _draw(found, out)
    _show(found)


def _show(record: Record) -> None:
    scores = (tables.scores(record, baseline) for baseline in record.settings.baselines)
    show((*scores, tables.randomisation(record)), (*tables.findings(record), tables.facts(record)))


def _draw(record: Record, out: Path) -> None:
    """What is made of a record: tables and figures."""
    from hatnet.studies.faithfulness.draw import draw_curves, draw_scores, save

    write_whole(_named(out, ".txt"), tables.page(record).encode())
    save(draw_curves(record), _named(out, "-curves.svg"))
    save(draw_scores(record), _named(out, "-scores.svg"))
    for suffix in DRAWN:
        print(_named(out, suffix).resolve())  # plainly, so that long paths are not broken


def _require_writable(out: Path, suffixes: tuple[str, ...], given: Path | None) -> None:
    """Raise a ValueError where files can't be written, or drawn, after all the work; `given` is not to be lost."""
    require_writable("--out", out, "faithfulness")
    for path in (_named(out, suffix) for suffix in suffixes):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give --out another name")
        if given is not None and path.resolve() == given.resolve():
            raise ValueError(f"{path} would be overwritten by what is made of it; give --out another name")
    require_matplotlib()


def _named(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)
