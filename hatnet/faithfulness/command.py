"""The command `hatnet faithfulness` (extras `cli` and `train`, and Captum)."""

from __future__ import annotations

from pathlib import Path

import torch

from hatnet.attention_maps.source import find_source
from hatnet.console import console, progress
from hatnet.data import open_data
from hatnet.faithfulness import tables
from hatnet.faithfulness.methods import METHODS
from hatnet.faithfulness.record import Record, Settings, read, write
from hatnet.faithfulness.study import check, pieces, study
from hatnet.files import write_whole


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
    threads: int = 1,
) -> None:
    """Put attention maps to the test: what happens to the answer when what they point at is taken away.

    Writes OUT.json with every image's scores, OUT.txt with tables for a page, OUT-curves.svg and OUT-scores.svg.

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
        record: a kept record to print and draw instead of a new study; files are made of it where --out is given.
        page: print the tables as Markdown and nothing else; with --record.
        data_dir: where data sets are kept.
        threads: of PyTorch.
    """
    if page and record is None:
        raise ValueError("--page prints the tables of a kept record: give it with --record FILE.json")
    if record is not None:
        kept = read(record)
        if page:
            print(tables.page(kept), end="")
        else:
            if out is not None:
                _files(kept, out, again=True)
            _show(kept)
        return
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    settings = Settings(
        data=data, images=images, methods=methods, baselines=baselines, patch=patch, steps=steps, seed=seed
    )
    out = out or Path("faithfulness")
    if not out.parent.is_dir():
        raise ValueError(f"no folder {out.parent} to write {out.name} to; create it first")
    torch.set_num_threads(threads)
    source = find_source(checkpoint, None if checkpoint else "fashion-mnist")
    opened = open_data(data, data_dir)
    check(settings, source, opened)
    console.print(f"{source.words} {images} test images of {data}; about a second of one core for each")
    with progress("faithfulness", total=pieces(settings)) as step:
        found = study(settings, source, opened, step)
    _files(found, out)  # first, so that nothing is lost with the terminal
    _show(found)


def _show(record: Record) -> None:
    for baseline in record.settings.baselines:
        console.print(tables.scores(record, baseline).rich())
    console.print(tables.randomisation(record).rich())
    for sentence in (*tables.findings(record), tables.facts(record)):
        console.print(sentence)


def _files(record: Record, out: Path, again: bool = False) -> None:
    from hatnet.faithfulness.draw import draw_curves, draw_scores, save

    if not again:
        write(record, _named(out, ".json"))
        print(_named(out, ".json").resolve())
    write_whole(_named(out, ".txt"), tables.page(record).encode())
    save(draw_curves(record), _named(out, "-curves.svg"))
    save(draw_scores(record), _named(out, "-scores.svg"))
    for suffix in (".txt", "-curves.svg", "-scores.svg"):
        print(_named(out, suffix).resolve())  # plainly, so that long paths are not broken


def _named(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)
