"""The hook that mkdocs.yml names. It makes this folder importable and passes mkdocs' events on.

mkdocs restores the import path after it has loaded this file, so everything is imported here.
"""

import importlib.util
import sys
from pathlib import Path

from mkdocs.exceptions import ConfigurationError

PACKAGES = ("hypothesis", "math_core", "matplotlib", "mkdocstrings", "PIL", "scipy", "torch")
ROOT = Path(__file__).resolve().parents[2]

missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
if missing:
    raise ConfigurationError(
        f"the site needs {', '.join(missing)}; run: python -m pip install -c constraints.txt -e '.[docs]'"
    )
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # this checkout, whatever else is installed

from builder.inputs import on_files, on_pre_build  # noqa: E402
from builder.pages import on_config, on_page_content, on_page_markdown, on_post_page  # noqa: E402

__all__ = ["on_config", "on_files", "on_page_content", "on_page_markdown", "on_post_page", "on_pre_build"]
