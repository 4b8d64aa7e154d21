"""The pieces, the most valuable first: what each runs, on a GPU and in miniature, and what must be there before."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path
from xml.etree import ElementTree

import torch

from hatnet.studies.bench import read as read_bench
from tests.on_gpu.fashion import prepare, prepared
from tests.on_gpu.place import ROOT, Place

COMMANDS = ("rich", "tyro")  # packages of `hatnet COMMAND`, besides those of PyTorch
FIGURES = ("matplotlib",)
BATCHES = (64, 256, 1)
# Compiling takes most of a minute per network and batch size: two groups, both with ours, fit into 8 minutes each.
GROUPS = {
    "a": ("small", "authors-small", "pvt_v2_b2", "twins_svt_small"),
    "b": ("small", "swin_tiny_patch4_window7_224", "hiera_tiny_224", "convnext_tiny", "resnet50"),
}
SEEDS = ("0", "1", "2")
# 100 epochs with every pixel as a token, which docs/training.md names as the next thing to try on a GPU.
FASHION = (
    "--epochs", "100", "--stem-strides", "1", "1", "--untrained-grid-sizes", "7", "7", "--pool-sizes", "4", "2",
    "--batch-size", "256", "--slice-size", "256", "--lr", "3e-3", "--warmup-epochs", "5", "--erasing", "0.25",
    "--drop-path", "0.1", "--ema", "0.9995",
)  # fmt: skip
SMALL_FASHION = (
    "--epochs", "2", "--warmup-epochs", "0.5", "--batch-size", "16", "--slice-size", "16", "--workers", "0",
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """One measurement, as a command that runs in a process of its own."""

    name: str
    title: str
    minutes: float  # expected on an H200, in all slices; estimated before the first run there
    words: tuple[str, ...]  # the command, after `python`
    resumes: bool = False  # SIGTERM stops it in order, and the same command continues
    packages: tuple[str, ...] = ()
    compiles: bool = False
    fashion: bool = False  # needs Fashion-MNIST
    files: tuple[str, ...] = ()  # that it writes to the folder of the records
    finish: Callable[[Place], str] = lambda _: ""  # after exit status 0: the result in a sentence, or a ValueError
    environment: Mapping[str, str] = field(default_factory=dict)

    def problems(self, place: Place) -> list[str]:
        """What keeps this piece from running here, and what to do."""
        missing = [package for package in self.packages if find_spec(package) is None]
        found = [f"needs {', '.join(missing)}: {how_to_install(missing)}"] if missing else []
        if self.compiles and not place.miniature:
            if not any(map(shutil.which, ("cc", "gcc", "clang"))):
                found.append("torch.compile needs a C compiler: apt-get install gcc")
            if not Path(get_path("include"), "Python.h").is_file():
                found.append("torch.compile needs Python.h: apt-get install python3-dev")
        if self.fashion and (problem := prepare(place)):
            found.append(problem)
        return found


def how_to_install(packages: list[str]) -> str:
    names = " ".join(packages)
    return (
        f"`python -m pip install -c constraints.txt {names}`. Without internet: `python -m pip download -c "
        f"constraints.txt -d wheels {names}` elsewhere, then `python -m pip install --no-index --find-links wheels "
        f"{names}` here"
    )


def no_gpu() -> str:
    """What keeps every piece from running on a GPU here, or an empty text."""
    if not torch.cuda.is_available():
        return (
            f"PyTorch {torch.__version__} finds no GPU here: look at `nvidia-smi`, and install a build of PyTorch for "
            "its driver. `python -m tests.on_gpu --miniature` runs every kind of piece in small on a CPU"
        )
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return f"{torch.cuda.get_device_name()} does not compute in bfloat16: use a GPU of 2020 (Ampere) or later"
    return ""


def pieces(place: Place) -> list[Piece]:
    """All pieces in order: first some with one of each kind, then the rest, then trainings that take hours.

    In miniature one batch size per kind of piece is enough.
    """
    if place.miniature:
        return [
            cuda_tests(place), precision(place), bench(place, 1), scaling(place, "scaling-stage-0", "0", "1"),
            bench(place, 1, compiled=True), bench(place, 1, training=True), fashion_training(place), ablation(place),
        ]  # fmt: skip
    first = [
        cuda_tests(place),
        precision(place),
        bench(place, 64),
        bench(place, 64, compiled=True, group="a"),
        bench(place, 64, training=True),
        scaling(place, "scaling-stage-0", "0", "1"),
        bench(place, 1),
    ]
    benches = [bench(place, 256)]
    benches += [bench(place, batch, compiled=True, group=group) for batch in BATCHES for group in GROUPS]
    more = [piece for piece in benches if piece.name not in {piece.name for piece in first}]
    return [
        *first, cuda_tests(place, compiled=True), *more, scaling(place, "scaling-stage-2-batch-16", "2", "16"),
        fashion_training(place), ablation(place),
    ]  # fmt: skip


def cuda_tests(place: Place, compiled: bool = False) -> Piece:
    """The tests marked `cuda`, including `long` ones: those of compiled networks, which take minutes, or all others."""
    files = [path for path in sorted(ROOT.glob("tests/**/test_*.py")) if "pytest.mark.cuda" in path.read_text("utf-8")]
    # Print test names, and the traceback of a slow test: a run that is cut off leaves no other trace.
    words = ("-m", "pytest", "-m", "cuda", "-n", "0", "-v", "-rs", "-p", "no:cacheprovider", "--tb=short")
    words += ("-o", "faulthandler_timeout=150")
    name = "tests-compiled" if compiled else "tests"
    report = place.runs / f"{name}.xml"
    chosen = "memory or every_precision_trains_on_a_gpu and bfloat16" if place.miniature else "not compiled"
    small = () if place.miniature else ("--long",)
    return Piece(
        name, f"Tests marked `cuda`{' of compiled networks' if compiled else ''}", 5 if compiled else 3,
        # A warning of another version of a library must not cost the day: -W undoes that warnings are errors.
        (
            *words, "-k", "compiled" if compiled else chosen, *small, "-W", "default", f"--junit-xml={report}",
            *(str(path.relative_to(ROOT)) for path in files),
        ),
        packages=("hypothesis", "matplotlib", "pytest", "rich", "scipy", "torchvision", "tyro", "xdist"), compiles=True,
        finish=lambda _: counted(report), environment={"HATNET_TEST_GPU": "cpu"} if place.miniature else {},
    )  # fmt: skip


def counted(report: Path) -> str:
    """The outcomes of tests. Raises ValueError if none passed, or some were skipped."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    totals = [{key: int(suite.get(key, 0)) for key in ("tests", "skipped", "failures", "errors")} for suite in suites]
    run, skipped, failures, errors = (sum(total[key] for total in totals) for key in totals[0])
    words = f"{run - skipped - failures - errors} passed, {failures + errors} failed, {skipped} skipped"
    if skipped or failures or errors or not run:
        raise ValueError(f"{words}: all tests marked `cuda` must run and pass")
    return words


def precision(place: Place) -> Piece:
    """Distances from float64 in every format, of all intermediates and by depth."""
    quick = ("--quick",) if place.miniature else ()
    words = ("-m", "tests.measure_precision", place.device, str(place.out / "precision.json"), *quick)
    return Piece("precision", "Rounding errors by format", 3, words, files=("precision.json",))


def bench(place: Place, batch: int, training: bool = False, compiled: bool = False, group: str = "") -> Piece:
    """Throughput, latency and memory of our networks and of timm's, interleaved; of all of them, or of one group."""
    kind = ("training-" if training else "") + ("compiled" if compiled else "eager")
    name = f"bench-{kind}-batch-{batch}" + (f"-{group}" if group else "")
    dtype = "autocast" if training else "bfloat16"  # bfloat16 weights lose small steps
    words = ["--batch", str(batch), "--seconds", "2", "--rounds", "1"]
    if group:
        words += ["--no-roofline", "--networks", *GROUPS[group]]
    if place.miniature:
        dtype = "float32"  # few processors compute bfloat16
        words = [
            "--batch", "1", "--size", "32", "--rounds", "1", "--seconds", "0.01", "--layouts", "1x1", "--no-roofline",
        ]  # fmt: skip
        words += ["--networks", *(("micro",) if compiled or training else ("micro", "resnet50"))]
    title = (
        f"{'Training' if training else 'Inference'} against other networks, {kind.rpartition('-')[2]}, batch {batch}"
    )
    minutes = {64: 6, 256: 4, 1: 3}[batch] if compiled else 2.5
    return Piece(
        name, title + (f", group {group}" if group else ""), minutes,
        (
            "-m", "hatnet", "bench", "--device", place.device, "--dtype", dtype, *words,
            "--training" if training else "--no-training", "--compile" if compiled else "--no-compile",
            *output(place, name),
        ),
        packages=(*COMMANDS, *FIGURES, "timm"), compiles=compiled, files=(f"{name}.json", f"{name}.svg"),
        finish=lambda place: benched(place.out / f"{name}.json"),
        environment={"TORCHINDUCTOR_CACHE_DIR": str(place.runs / "inductor")},  # the next call compiles nothing twice
    )  # fmt: skip


def benched(path: Path) -> str:
    """Networks that have no times. Raises ValueError if one of ours is among them."""
    visits = read_bench(path).visits
    refused = {visit.network: visit.refused for visit in visits if visit.refused}
    words = "; ".join(f"{name} refused: {cause}" for name, cause in refused.items())
    if set(refused) & {"micro", "tiny", "small"}:
        raise ValueError(words)
    return words


def scaling(place: Place, name: str, stage: str, batch: str) -> Piece:
    """Times of attention modules over image sizes."""
    small = ("--sizes", "32", "64", "--rounds", "1", "--modules", "h-mhsa", "mhsa") if place.miniature else ()
    words = (
        "-m", "hatnet", "scaling", "--device", place.device, "--dtype", "bfloat16", "--stage", stage, "--batch", batch,
        *small, *output(place, name),
    )  # fmt: skip
    title = f"Attention over image sizes, stage {stage}, batch {batch}"
    return Piece(name, title, 2, words, packages=(*COMMANDS, *FIGURES), files=(f"{name}.json", f"{name}.svg"))


def output(place: Place, name: str) -> tuple[str, ...]:
    return ("--out", str(place.out / f"{name}.json"), "--figure", str(place.out / f"{name}.svg"))


def command(place: Place) -> tuple[str, ...]:
    """The command `hatnet`, in miniature with a hundred images as Fashion-MNIST."""
    return ("-m", "tests.on_gpu.small_data") if place.miniature else ("-m", "hatnet")


def fashion_training(place: Place) -> Piece:
    """Fashion-MNIST from scratch, in one training, with three seeds."""
    words = (
        *command(place), "train", "fashion", *FASHION, *(SMALL_FASHION if place.miniature else ()),
        "--seeds", *SEEDS, "--resume", "--device", place.device, "--data-dir", str(prepared(place)),
        "--out", str(place.runs / "fashion"),
    )  # fmt: skip
    files = ("fashion-seeds.json", *(f"fashion-seed-{seed}-{name}" for seed in SEEDS for name in KEPT))
    return Piece(
        "fashion", "Fashion-MNIST from scratch, three seeds", 45, words, resumes=True, fashion=True,
        packages=(*COMMANDS, *FIGURES, "torchvision"), files=files, finish=keep_fashion,
    )  # fmt: skip


KEPT = ("metrics.csv", "run.json")  # of each seed


def keep_fashion(place: Place) -> str:
    """Copy the records of the three trainings. Their weights stay where they are."""
    for seed in SEEDS:
        for name in KEPT:
            shutil.copy(place.runs / f"fashion-seed-{seed}" / name, place.out / f"fashion-seed-{seed}-{name}")
    facts = json.loads((place.runs / "fashion-seeds.json").read_text("utf-8"))
    shutil.copy(place.runs / "fashion-seeds.json", place.out)
    accuracies = facts["metrics"]["accuracy"]
    each = ", ".join(f"{100 * value:.2f} %" for value in accuracies)
    spread = 100 * facts["sample standard deviation"]["accuracy"]
    return f"test accuracy {each}; mean {100 * facts['mean']['accuracy']:.2f} %, spread {spread:.2f} points"


def ablation(place: Place) -> Piece:
    """The ablation on all images, ten arms and three seeds."""
    small = ("--epochs", "1", "--arms", "h-mhsa", "none", "--workers", "0") if place.miniature else ()
    folder = place.runs / "ablation"
    words = (
        *command(place), "ablation", "--data", "fashion-mnist", *small, "--seeds", "2" if place.miniature else "3",
        "--device", place.device, "--data-dir", str(prepared(place)), "--out", str(folder),
    )  # fmt: skip

    def keep(place: Place) -> str:
        for suffix in ("json", "svg"):
            shutil.copy(folder / f"ablation.{suffix}", place.out)
        return ""

    return Piece(
        "ablation", "Ablation on the whole of Fashion-MNIST", 150, words, resumes=True, fashion=True,
        packages=(*COMMANDS, *FIGURES, "scipy", "torchvision"), files=("ablation.json", "ablation.svg"), finish=keep,
    )  # fmt: skip


def shown(piece: Piece, place: Place) -> str:
    """The command of a piece, as one would type it."""
    words = " ".join(word if re.fullmatch(r"[\w./:=-]+", word) else f"'{word}'" for word in piece.words)
    return place.show(f"python {words}")
