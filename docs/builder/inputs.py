"""mkdocs' events for what pages are made from: checks, tutorials, and the data and script of the explorers.

Generated files go to `build/docs`, outside the folder of the pages, so that `mkdocs serve` does not rebuild for ever.
"""

import logging
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from builder import GENERATED
from builder.bundle import make_notebooks
from builder.checkout import repository
from builder.code import insert_code
from builder.doctests import check_page_examples
from builder.excerpts import ExcerptError
from builder.figures import adapt_kept_figure
from builder.fingerprint import changed, fingerprint, remember
from builder.heads import PICTURE
from builder.ledger import check_ledger
from builder.live import live_files, make_live
from builder.maps import write_site_maps
from builder.social import social_picture
from builder.traceability import check_equations
from builder.tutorials import make_pages
from hatnet.files import write_whole
from hatnet.maps.colour_scene import colour_scene
from hatnet.maps.explorer import explorer_script

log = logging.getLogger("mkdocs.builder")


def on_pre_build(config: MkDocsConfig) -> None:
    """Check tags and pages, which takes a second, and then bring everything that is generated up to date.

    Raises:
        ExcerptError: if a page shows code that does not exist.
        ExampleError: if an example on a page prints something else than the page shows.
        TraceabilityError: if an equation lacks code or a test, or the ledger does not match the code.
        ScriptError: if a tutorial fails.
    """
    root = Path(config.config_file_path).parent
    check_equations(root)
    check_ledger(root)
    check_code_on_pages(root)
    check_page_examples(root)
    ran = make_pages(root, root / GENERATED / "tutorials")
    log.info(f"Tutorials that ran: {', '.join(script.name for script in ran) or 'none, since nothing changed'}")
    make_notebooks(root, root / GENERATED, repository(dict(config.extra)) or "")
    make_maps(root, root / GENERATED / "data/generated")
    make_live(root, root / GENERATED / "data/generated")


def check_code_on_pages(root: Path) -> None:
    """Check that all code shown on pages exists, before the tutorials run for minutes.

    Raises:
        ExcerptError: naming the page, the file and the definition.
    """
    for page in sorted((root / "docs").rglob("*.md")):
        try:
            insert_code(page.read_text(encoding="utf-8"), root)
        except ExcerptError as error:
            raise ExcerptError(f"{page.relative_to(root)}: {error}") from None


def make_maps(root: Path, folder: Path) -> None:
    """Write the attention maps that the site's explorers show, unless they are up to date."""
    current = fingerprint(root, ["hatnet/**/*.py", "hatnet/assets/*", "docs/builder/*maps.py"])
    if changed(folder, "maps", current):
        for old in folder.glob("attention*"):
            old.unlink()
        write_site_maps(folder)
        write_whole(folder / "attention-scene.bin", colour_scene().encode())
        remember(folder, "maps", current)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add generated files, the explorer's script, the picture for shared links, and Pyodide, if it is at hand."""
    generated = Path(config.config_file_path).parent / GENERATED
    paths = {path.relative_to(generated).as_posix(): path for path in generated.rglob("*") if path.is_file()}
    for address, path in sorted(paths.items()):
        if any(part.startswith(".") for part in Path(address).parts):  # fingerprints, and the wheel
            continue
        if stale := files.get_file_from_path(address):  # older versions generated files among the pages
            files.remove(stale)
        files.append(File.generated(config, address, abs_src_path=str(path)))
    for file in list(files):
        if file.src_uri.startswith("measurements/") and file.src_uri.endswith(".svg"):
            svg = adapt_kept_figure(file.content_string)
            files.remove(file)
            files.append(File.generated(config, file.src_uri, content=svg))
    files.append(File.generated(config, "js/attention-explorer.js", content=explorer_script()))
    photo = Path(config.config_file_path).parent / "hatnet/assets/chelsea.png"
    picture = social_picture(photo, config.site_name, config.site_description or "")
    files.append(File.generated(config, PICTURE, content=picture))
    for file in live_files(config):
        files.append(file)
    return files
