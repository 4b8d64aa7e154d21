"""Fingerprints of files: what is generated is made again only when its inputs or the libraries change."""

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

LIBRARIES = ("numpy", "torch", "torchvision", "pillow", "matplotlib", "scipy", "hypothesis")


def fingerprint(root: Path, patterns: Iterable[str]) -> str:
    """A hash of all files below `root` that match a pattern, and of the versions of the libraries.

    Args:
        root: the checkout.
        patterns: as `Path.glob` takes them, such as `hatnet/**/*.py`.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return digest.hexdigest()


def changed(folder: Path, name: str, current: str) -> bool:
    """Whether what `remember` kept for `name` differs from the current fingerprint; if so, it is forgotten.

    Forgetting first means that an interrupted or failed run counts as none.
    """
    kept = folder / f".{name}"
    if kept.is_file() and kept.read_text(encoding="utf-8") == current:
        return False
    kept.unlink(missing_ok=True)
    return True


def remember(folder: Path, name: str, current: str) -> None:
    """Keep the fingerprint of the inputs that `name` was made from."""
    (folder / f".{name}").write_text(current, encoding="utf-8")
