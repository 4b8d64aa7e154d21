"""`@mutants`: the scores of mutation testing and every survivor, from the record in docs/measurements."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

RECORD = "docs/measurements/mutation.json"
PARTS = {
    "reference": "the reference",
    "model": "the model",
    "sample": "a sample of training, data, maps and studies",
}
KINDS = {
    "equivalent": "Equivalent: no input gives another result",
    "resource": "Resources: only time or memory differ",
    "appearance": "Appearance: a figure or a printed line looks a little different",
    "wording": "Wording: an error is raised, with another text or type",
    "untested": "Untested: a test is still to be written",
}


def mutants(root: Path) -> list[str]:
    """A table of the parts, a folded table of the files, and the survivors by kind, each with its reason."""
    record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    return [*_parts(record), "", *_files(record), "", *_survivors(record["survivors"])]


def _parts(record: dict[str, Any]) -> list[str]:
    lines = ["| part | mutants | noticed | survived | score |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, part in record["parts"].items():
        survived = part.get("survived", 0) + part.get("unseen", 0)
        score, low, high = (f"{100 * part[key]:.1f} %" for key in ("score", "low", "high"))
        if name == "sample":
            score += f" ({low} to {high})"
        lines.append(f"| {PARTS[name]} | {part['mutants']} | {part['mutants'] - survived} | {survived} | {score} |")
    software = record["software"]
    versions = f"PyTorch {software['torch']}, cosmic-ray {software['cosmic-ray']}"
    return [*lines, "", f"<small>{record['date']}; {record['machine']}; {versions}; seed {record['seed']}.</small>"]


def _files(record: dict[str, Any]) -> list[str]:
    lines = ['??? info "Every file"', "", "    | file | mutants | survived |", "    | --- | ---: | ---: |"]
    for files in record["files"].values():
        for path, counts in files.items():
            survived = counts.get("survived", 0) + counts.get("unseen", 0)
            lines.append(f"    | `{path}` | {counts['mutants']} | {survived} |")
    return lines


def _survivors(survivors: list[dict[str, str]]) -> list[str]:
    lines = []
    for kind, title in KINDS.items():
        own = [survivor for survivor in survivors if survivor["kind"] == kind]
        if own:
            lines += ["", f'??? note "{title} ({len(own)})"', ""]
        for (file, definition, why), group in groupby(own, key=lambda s: (s["file"], s["definition"], s["why"])):
            lines += [f"    **`{file}`**{f', `{definition}`' if definition else ''}: {why}", "", "    ```diff"]
            for survivor in group:
                lines += [f"    - {survivor['before']}", f"    + {survivor['after']}"]
            lines += ["    ```", ""]
    return lines
