"""Settings of the whole test run."""

import os
import platform

# One thread: tensors are small, and waiting threads cost more than they gain, on a busy machine twenty times more.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import hypothesis  # noqa: E402
import numpy  # noqa: E402
import torch  # noqa: E402

# The same examples in every run, so that a failing test keeps failing; `nightly` draws new ones.
hypothesis.settings.register_profile("default", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.register_profile(  # for planted bugs: find, but do not shrink
    "planted",
    parent=hypothesis.settings.get_profile("default"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run everything, including long tests and the browser")


def pytest_collection_modifyitems(config, items):
    """Without --long, leave out tests that are marked `long` or need the built site."""
    for item in items:
        if "site" in getattr(item, "fixturenames", ()):
            item.add_marker("long")
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_report_header(config) -> list[str]:
    """Name versions and hardware, and whether long tests run."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, so CUDA is not tested"
    everything = "long tests and the browser included" if config.getoption("--long") else LEFT_OUT
    versions = f"torch {torch.__version__}, numpy {numpy.__version__}, {platform.machine()}, GPU: {device}"
    return [versions, f"tests: {everything}"]
