"""Precision and full memory."""

from contextlib import suppress

import pytest
import torch

from hatnet.device import full_precision, out_of_memory, out_of_memory_cause


def test_full_precision_ends_with_its_block_and_keeps_cudnn():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    try:
        conv.fp32_precision = matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", torch.bfloat16), suppress(KeyError), full_precision():
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
            assert torch.backends.cudnn.enabled
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise KeyError
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def test_a_full_cpu_is_recognised_by_pytorchs_own_error():
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(full.value)
    assert "memory" in out_of_memory_cause(full.value)
    assert "\n" not in out_of_memory_cause(full.value)


@pytest.mark.parametrize("message", ["a bug", "CUDA error: an illegal memory access was encountered"])
def test_other_errors_are_not_full_memory(message):
    assert not out_of_memory(RuntimeError(message))
