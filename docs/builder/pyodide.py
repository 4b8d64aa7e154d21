"""The files of Pyodide and NumPy for the page on which the reference runs in the reader's browser.

They are 16 MB, so they are in no checkout. `HATNET_PYODIDE=fetch mkdocs build --strict` takes them out of a wheel on
PyPI that carries them, compares every file with the hash below, and keeps them in the user's cache, where later builds
find them without the variable. Where they cannot be had, the site is complete without them, and the page says so.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hatnet.files import write_whole

VERSION = "314.0.3"
CARRIER = "open-webui==0.12.4"  # only a carrier: it is not installed, and nothing else in it is used
CARRIER_SHA256 = "02e9caba96234db3fa17a92e56163b3f7f2b8ca8227fa886b85c178d696483f6"
INSIDE = "open_webui/frontend/pyodide"
NUMPY = "numpy-2.4.3-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
# The first five are those of the npm package pyodide 314.0.3, whose lock file has the hash of NumPy's wheel.
SHA256 = {
    "pyodide.mjs": "5cfc46f5dcbaf2a16f26e2363f441873eb424762609cc03db00d6a2ace4d00e5",
    "pyodide.asm.mjs": "1a9775427ef6e8abaa7db88ece0515422d1886915ae5c9093776410c865dfd8d",
    "pyodide.asm.wasm": "e7f8fac36f8bf11085309cbc5c829b3ec3057c18bf1d73b05a6741612d63cdbf",
    "python_stdlib.zip": "444c770dfd75a32097fc0a7d5c1413fd3140601f49c3a1f2e9af0376fcd124b4",
    "pyodide-lock.json": "67e6f0b62fa972daa5fc27c28b3c2ad388f5e343a0be6cab9464d1def06a54a6",
    NUMPY: "0cad9c1b91f0082e4f959bc0e0bf5835a2efbba6ab3b1e9d1fe6e7e564cca98e",
}
VARIABLE = "HATNET_PYODIDE"

log = logging.getLogger("mkdocs.builder")


class PyodideError(ValueError):
    """The files cannot be had, or are not those that the hashes belong to."""


def cache() -> Path:
    """The folder that keeps the files between builds, for all checkouts of a user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hatnet" / f"pyodide-{VERSION}"


def pyodide_files() -> dict[str, Path]:
    """The checked files by name; none if they are not in the cache and are not to be fetched, or cannot be.

    Raises:
        PyodideError: for a value of HATNET_PYODIDE with no meaning.
    """
    folder, wish = cache(), os.environ.get(VARIABLE, "")
    if wish not in ("", "fetch", "none"):
        raise PyodideError(f"{VARIABLE}={wish} must be 'fetch' or 'none', or not be set")
    if wish == "none":
        return {}
    try:
        if wish == "fetch" and not all((folder / name).is_file() for name in SHA256):
            fetch(folder)
        return {name: checked(folder, name) for name in SHA256} if folder.is_dir() else {}
    except (OSError, PyodideError) as error:  # no reason to go without the rest of the site
        log.info(f"The live reference is left out: {error}")
        return {}


def checked(folder: Path, name: str) -> Path:
    """The path of one file, or a PyodideError if its hash is not the expected one."""
    found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if found != SHA256[name]:
        raise PyodideError(f"{folder / name} has SHA-256 {found}, expected {SHA256[name]}; remove the folder")
    return folder / name


def fetch(folder: Path) -> None:
    """Download the carrier (106 MB) with pip, which compares its hash, and keep six files of it.

    Raises:
        PyodideError: if pip fails or a file has another hash. Nothing is kept then.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "carrier.txt"
        wanted.write_text(f"{CARRIER} --hash=sha256:{CARRIER_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version=3.11", "--require-hashes", f"--requirement={wanted}", f"--dest={scratch}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PyodideError(f"pip cannot download {CARRIER}: {done.stderr.strip()[-300:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as carrier:
            found = {name: carrier.read(f"{INSIDE}/{name}") for name in SHA256}
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise PyodideError(f"{name} in {CARRIER} has another SHA-256 than {SHA256[name]}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        write_whole(folder / name, content)


def lock_of_numpy(lock: str) -> str:
    """Pyodide's list of packages with NumPy alone, so that the page loads 1 KB of it instead of 150 KB."""
    full = json.loads(lock)
    return json.dumps(full | {"packages": {"numpy": full["packages"]["numpy"]}})
