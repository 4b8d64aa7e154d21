"""Command lines to try: for each command arguments that keep its work small, and values for every option it has.

A command is added by an entry in `COMMANDS`. Its options are read from its help; those of `VALUES` have values of
their own, all others get numbers and words.
"""

import re
from dataclasses import dataclass

from hypothesis import strategies as st

NUMBERS = (
    "-1",
    "0",
    "1",
    "2",
    "3",
    "16",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1000000000",
    "1" + "0" * 30,
    "1.0",
    "0x10",
)
WORDS = (
    "",
    "-",
    "None",
    "True",
    "no",
    "x",
    "\u00d8\u2202",
    "a b",
    "x" * 3000,
    "[",
    "%s",
    "{}",
    "~",
    ".",
    "1,2",
    "a,b",
    "nan,0",
)
SIZES = ("16", "17", "8", "7", "0", "-1", "nan", "1.5", "1000000000", "999999", "x", "")
OUTPUTS = (
    "out",
    "out.png",
    "out.svg",
    "out.html",
    "out.json",
    "no/such/folder/out.png",
    "x" * 300,
    "file/out",
    "folder",
)
IMAGES, WEIGHTS, RECORDS, RECIPES, FOLDERS, CUTOUTS = (
    "images",
    "weights",
    "records",
    "recipes",
    "folders",
    "cutouts",
)  # paths of files, made by `tests.fuzz.files`

# Never drawn: they fetch data, compile for minutes, start processes, or only print the help.
LEFT_OUT = {
    "--download",
    "--no-download",
    "--compile",
    "--no-compile",
    "--help",
    "-h",
    "--resume",
    "--no-resume",
    "--workers",
    "--serve",
    "--no-serve",
}

VALUES: dict[str, tuple[str, ...] | str] = {
    "--size": SIZES, "--image-size": SIZES, "--sizes": SIZES, "--out": OUTPUTS, "--figure": OUTPUTS, "--folder": OUTPUTS,
    "--data-dir": OUTPUTS, "--image": IMAGES, "--checkpoint": WEIGHTS, "--weights": WEIGHTS, "--record": RECORDS,
    "--objects": CUTOUTS, "--variant": ("micro", "tiny", "huge", "", "MICRO"), "--pretrained": ("fashion-mnist", "x", ""),
    "--data": FOLDERS, "--background": ("white", "#ff8800", "#ff880000", "x", "", "rgb(1,2,3)", "None"),
    "--device": ("cpu", "meta", "cuda:7", "mps", "x", "", "cpu:1", "CPU"), "--threads": ("1", "0", "-1", "x", "1000000000"),
    "--epochs": ("1", "0", "-1", "x", "nan"), "--repeats": ("1", "2", "0", "1000"),
    "--recipe": RECIPES, "--port": ("0", "-1", "99999", "x", "1000000000"),
    "--modules": ("h-mhsa", "mhsa", "x", ""), "--methods": ("rollout", "x", ""), "--baselines": ("mean", "x", ""),
    "--task": ("classification", "segmentation", "detection", "instances", "x", ""),
    "--clock": ("wall", "cpu", "sun"), "--longest": ("0.1", "0", "nan", "x"), "--rounds": ("1", "0", "x"),
    "--batch": ("1", "2", "0", "1000000"), "--images": ("10", "0", "1", "x"), "--steps": ("1", "2", "0", "x"),
    "--networks": ("micro", "tiny", "x", ""), "--layouts": ("1x1", "0x1", "x", ""), "--seconds": ("1", "0", "nan", "x"),
    "--untrained": ("1", "0", "x"), "--random-maps": ("1", "0", "x"), "--seeds": ("1", "0", "x", "1,2"),
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    first: tuple[str, ...]  # positional arguments and small settings; a drawn option may change them
    last: tuple[str, ...] = ()  # keep the work small whatever is drawn: the last value of an option counts
    positional: str = ""  # the kind of file that the first argument may be replaced by


TRAIN = (
    "fashion-quick", "--data", "folder:IMAGES", "--image-size", "16", "--epochs", "1", "--batch-size", "2",
    "--slice-size", "2", "--weights", "GOOD-WEIGHTS", "--crop-padding", "None",
    "--out", "run",
)  # fmt: skip
COMMANDS = {
    "summary": Command(("micro", "--image-size", "32", "32")),
    "verify": Command(("--variant", "micro", "--size", "16")),
    "attention": Command(("GOOD-IMAGE", "--variant", "micro", "--size", "16", "--out", "a.png"), positional=IMAGES),
    "predict": Command(("GOOD-IMAGE", "--weights", "GOOD-WEIGHTS", "--out", "p.json"), positional=IMAGES),
    "export": Command(("--weights", "GOOD-WEIGHTS", "--image-size", "16", "16"), ("--out", "x.onx")),  # an export takes seconds
    "scenes": Command(("scenes", "--size", "64"), ("--train", "1", "--val", "1")),
    "recipes": Command(("fashion-quick",), positional=RECIPES),
    "evaluate": Command(("GOOD-WEIGHTS", "--data", "folder:IMAGES", "--out", "."), ("--workers", "0"), WEIGHTS),
    "train": Command(TRAIN, ("--workers", "0", "--device", "cpu")),
    "faithfulness": Command((), ("--record", "RECORD")),
    "scaling": Command(("--modules", "h-mhsa", "--sizes", "32", "--out", "s.json"), ("--rounds", "1", "--longest", "0.1")),
    "ablation": Command((), ("--record", "RECORD")),
    "bench": Command((), ("--record", "RECORD")),  # else it starts processes
    "demo": Command((), ("--seed", "-1")),
    "docs": Command(()),
}  # fmt: skip


def options(help_text: str) -> list[str]:
    """The options of a command, from its help."""
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]*", help_text)) - LEFT_OUT)


@st.composite
def command_lines(draw, name: str, known: list[str], files: dict[str, list[str]]):
    """The words of one command line. `GOOD-IMAGE` and others, `file-KIND-NUMBER` and `run-NUMBER` stand for paths."""
    command = COMMANDS.get(name, Command(()))
    number = st.integers(0, 2**32 - 1)
    words = list(command.first)
    if command.positional and draw(st.booleans()):
        words[0] = f"file-{command.positional}-{draw(number)}"
    for option in draw(st.lists(st.sampled_from(known), max_size=3)) if known else ():
        values = VALUES.get(option, (*NUMBERS, *WORDS))
        paths = isinstance(values, str)
        strategy = number.map(f"file-{values}-{{}}".format) if paths else st.sampled_from(values)
        words += [option, *draw(st.lists(strategy, min_size=1, max_size=draw(st.sampled_from([1, 1, 1, 2]))))]
    if draw(st.integers(0, 19)) == 0:
        words.append(draw(st.sampled_from([*NUMBERS, *WORDS])))
    words += [f"file-{RECORDS}-{draw(number)}" if word == "RECORD" else word for word in command.last]
    if name == "train" and draw(st.integers(0, 4)) == 0:
        words += ["--resume", "--out", f"run-{draw(number)}"]
    return [name, *words]
