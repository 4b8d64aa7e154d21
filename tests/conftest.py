"""Settings of the whole test run."""

import os
import platform

# One thread: the tensors are small, and waiting threads cost more than they bring, on a busy machine twenty times more.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import hypothesis  # noqa: E402
import numpy  # noqa: E402
import torch  # noqa: E402

# The same examples at every run, so that a red test stays red; `nightly` draws new ones.
hypothesis.settings.register_profile("default", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.register_profile(  # for planted bugs: find, don't shrink
    "planted",
    parent=hypothesis.settings.get_profile("default"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run everything: the long tests and the browser, too")


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked `long`, and what needs the built site, unless `--long` asks for everything."""
    for item in items:
        if "site" in getattr(item, "fixturenames", ()):
            item.add_marker("long")
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_report_header() -> str:
    """Say what the run stands on, and what it leaves out."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, so CUDA is not tested"
    return f"torch {torch.__version__}, numpy {numpy.__version__}, {platform.machine()}, GPU: {device}"
