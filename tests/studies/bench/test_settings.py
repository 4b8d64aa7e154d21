"""Settings of `hatnet bench`: which are refused, and with which words."""

import math

import pytest

from hatnet.studies.bench import Layout, Settings, requirements
from hatnet.studies.bench import networks as networks_module
from hatnet.studies.bench import settings as settings_module
from hatnet.studies.bench.networks import DEFAULT, NETWORKS
from hatnet.studies.bench.requirements import computes_bfloat16, require_machine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"networks": ("smal",)}, "unknown network 'smal', did you mean 'small'?"),
        ({"networks": ()}, "must hold at least one"),
        ({"networks": ("tiny", "tiny")}, "none twice"),
        ({"networks": ("tiny-recompute",)}, "tiny-recompute differs in training only: add --training"),
        ({"batch": 0}, "batch=0 must be a whole number from 1 to 65536"),
        ({"size": 31}, "size=31 must be a whole number from 32 to 4096"),
        ({"rounds": 0}, "rounds=0 must be a whole number from 1 to 1000"),
        ({"threads": 0}, "threads=0 must be a whole number from 1 to 1024"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"seconds": 0}, "seconds=0 must be from 0.001 to 3600"),
        ({"seconds": math.nan}, "seconds=nan must be from"),
        ({"dtype": "float8"}, "dtype='float8' must be one of float32, bfloat16, float16, autocast"),
        ({"dtype": "float16"}, "dtype='float16' is for a GPU; on a CPU use float32 or bfloat16"),
        ({"dtype": "bfloat16", "training": True}, "training with weights in bfloat16 loses small steps"),
        ({"allocator": "mine"}, "allocator='mine' must be one of default, keep"),
        ({"layouts": ("2",)}, "layout '2' must be PROCESSESxTHREADS, such as 2x1, with at most 1024 of each"),
        ({"layouts": ("0x1",)}, "layout '0x1' must be"),
        ({"layouts": ("1x9999",)}, "layout '1x9999' must be"),
        ({"layouts": ("1x2", "1x2")}, "must hold none twice"),
        ({"layouts": ("1x2",), "threads": 2}, "give threads or layouts, not both"),
        ({"device": "cuda", "layouts": ("2x1",)}, "threads and layouts are for device='cpu'"),
        ({"device": "cuda", "threads": 4}, "threads and layouts are for device='cpu'"),
    ],
    ids=str,
)  # fmt: skip
def test_the_error_for_a_bad_setting_names_the_allowed_values(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Settings(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"training": 1},
        {"compile": "yes"},
        {"roofline": None},
        {"device": 3},
        {"networks": None},
        {"layouts": "None"},
        {"rounds": (1, 2)},
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused(arguments):
    with pytest.raises(TypeError, match=next(iter(arguments))):
        Settings(**arguments)


def test_default_networks_are_ours_those_of_the_authors_and_all_of_timm():
    assert {"tiny", "small", "authors-tiny", "authors-small"} <= set(DEFAULT)
    assert {name for name in NETWORKS if NETWORKS[name].family == "timm"} <= set(DEFAULT)
    Settings()


def test_allocator_is_kept_with_glibc_only(monkeypatch):
    keep = Settings(networks=("micro",), allocator="keep")
    for library in ("", "musl"):
        monkeypatch.setattr(settings_module.platform, "libc_ver", lambda library=library: (library, ""))
        with pytest.raises(ValueError, match="allocator='keep' sets variables of glibc"):
            require_machine(keep)
        require_machine(Settings(networks=("micro",)))
    monkeypatch.setattr(settings_module.platform, "libc_ver", lambda: ("glibc", "2.36"))
    require_machine(keep)
    assert keep.environment(3)["MALLOC_MMAP_MAX_"] == "0"
    assert not any("MALLOC" in name for name in Settings().environment(3))


@pytest.mark.parametrize("dtype", ["bfloat16", "autocast"])
def test_bfloat16_is_refused_on_a_processor_without_its_instructions(monkeypatch, dtype):
    settings = Settings(networks=("micro",), dtype=dtype)
    monkeypatch.setattr(requirements, "computes_bfloat16", lambda: False)
    with pytest.raises(ValueError, match=f"dtype='{dtype}': this processor has no instructions for bfloat16"):
        require_machine(settings)
    require_machine(Settings(networks=("micro",), dtype=dtype, device="cuda"))
    require_machine(Settings(networks=("micro",)))
    monkeypatch.setattr(requirements, "computes_bfloat16", lambda: True)
    require_machine(settings)


@pytest.mark.parametrize(
    ("machine", "avx", "amx", "arm", "want"),
    [
        ("x86_64", False, False, True, False),
        ("x86_64", True, False, False, True),
        ("x86_64", False, True, False, True),
        ("aarch64", True, True, False, False),
        ("arm64", False, False, True, True),
    ],
)
def test_instructions_for_bfloat16_are_those_of_the_processor(monkeypatch, machine, avx, amx, arm, want):
    torch = requirements.torch
    monkeypatch.setattr(requirements.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: arm)
    assert computes_bfloat16() is want


def test_networks_of_timm_are_refused_without_timm(monkeypatch):
    monkeypatch.setattr(networks_module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pvt_v2_b1 needs timm: python -m pip install 'hatnet\[bench\]'"):
        require_machine(Settings(networks=("micro", "pvt_v2_b1")))
    require_machine(Settings(networks=("micro", "authors-tiny")))


def test_layout_is_written_as_it_is_read():
    assert str(Layout.parse("12x3")) == "12x3"
    assert Layout.parse("12x3") == Layout(processes=12, threads=3)
