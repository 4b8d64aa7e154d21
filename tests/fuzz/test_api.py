"""Whatever a public function receives, it answers or says what is wrong: no hang, no flood, no nonsense in silence.

`HATNET_FUZZ_EXAMPLES=10000 HYPOTHESIS_PROFILE=nightly python -m pytest tests/fuzz/test_api.py` draws new cases.
"""

import importlib
import os
import re
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from reference import initial, learning, loss
from tests.fuzz.api import EXCLUDED, TABLE, anything, finite, logits_as_reference
from tests.fuzz.conftest import OUTCOMES
from tests.fuzz.limits import files_below, limited
from tests.fuzz.values import Call, calls

EXPECTED = (ValueError, TypeError, OSError)
SECONDS = 30.0

# Messages from inside NumPy, PyTorch and Python, which do not name what was given.
INTERNAL = re.compile(
    r"not aligned|unsupported operand|is not iterable|has no attribute|could not be broadcast|not subscriptable|"
    r"mat1 and mat2|must be real number|not supported between|cannot be interpreted as an integer|unhashable|"
    r"unexpected keyword|Expected all tensors|index out of range|Too few|not enough values|truth value|has no len|"
    r"not callable"
)

sizes = st.builds(
    lambda H, W, heads, d, G1, G2: SimpleNamespace(H=H, W=W, heads=heads, C=heads * d, G1=G1, G2=G2),
    *[st.integers(1, most) for most in (6, 6, 3, 3, 4, 3)],
)


def examples(default: int) -> int:
    """Cases for each function: `default`, or those of HATNET_FUZZ_EXAMPLES divided among all functions."""
    total = int(os.environ.get("HATNET_FUZZ_EXAMPLES", "0"))
    return -(-total // len(TABLE)) if total else default


def run(name: str, call: dict, changed: dict) -> str:
    """Call a function under the limits, and return the kind of outcome; an AssertionError says what is wrong."""
    entry = TABLE[name]
    refusal = None
    with limited(SECONDS):
        try:
            result = entry.function(**call)
        except EXPECTED as error:
            refusal = error
    if refusal is None:
        check = entry.check if entry.check is logits_as_reference or not changed else finite
        (anything if entry.check is anything else check)(result, call)
        return "answer"
    kind, text = type(refusal).__name__, str(refusal)
    assert changed or not entry.answers, f"{name} refused valid arguments: {text}"
    assert text.strip(), f"{kind} without a message"
    assert not INTERNAL.search(text), f"{kind} from inside, which names no argument: {text}"
    return kind


def check_function(name: str, most: int, folder, corpus) -> None:
    files = {argument: corpus[kind] for argument, kind in TABLE[name].reads.items()}

    @settings(max_examples=most, suppress_health_check=list(HealthCheck))
    @given(call=calls(sizes, TABLE[name].arguments, files))
    def check(call: Call):
        note(f"{name}, changed: {call.changed}")
        OUTCOMES[f"functions, {run(name, call.given, call.changed)}"] += 1
        left = {file for file in files_below(folder) if not file.startswith((*TABLE[name].files, "drawn-"))}
        assert not left, f"files left: {left}"
        for file in folder.glob("drawn-*"):
            file.unlink()

    check()


@pytest.mark.parametrize("name", TABLE)
def test_every_function_answers_or_refuses_clearly(name, tmp_path, monkeypatch, corpus):
    monkeypatch.chdir(tmp_path)
    check_function(name, examples(4), tmp_path, corpus)


@pytest.mark.long
@pytest.mark.parametrize("name", TABLE)
def test_every_function_answers_or_refuses_clearly_in_many_cases(name, tmp_path, monkeypatch, corpus):
    monkeypatch.chdir(tmp_path)
    check_function(name, examples(12), tmp_path, corpus)


def test_every_public_function_is_in_the_table():
    modules = ("hatnet", "reference", "reference.backward", "hatnet.data", "hatnet.complexity", "hatnet.relatives")
    modules += ("hatnet.training", "hatnet.timm", "hatnet.torchvision", "hatnet.hub", "hatnet.dense", "hatnet.export")
    public = {f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__}
    for module in (initial, learning, loss):  # which have no __all__
        own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        public |= {f"{module.__name__}.{name}" for name in own if not name.startswith("_")}
    assert public - TABLE.keys() - EXCLUDED.keys() == set(), "add these to tests/fuzz/api.py"
    assert EXCLUDED.keys() <= public
    assert not EXCLUDED.keys() & TABLE.keys()
