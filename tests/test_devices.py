"""Devices by name, settings that are restored, and malloc's setting seen in page faults."""

import subprocess
import sys

import pytest
import torch

from augmix import devices
from augmix.errors import RunError

# Allocates and frees 64 MiB eight times; prints the number of pages that the kernel had to supply.
WORK = """
import ctypes, resource, sys
from augmix.devices import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
size = 64 * 2**20
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    malloc = ctypes.CDLL(None).malloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    address = malloc(size)
    ctypes.memset(address, 1, size)
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    free(address)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", WORK, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not devices.has_glibc(), reason="glibc only")
def test_freed_memory_is_reused() -> None:
    pages = 64 * 2**20 // 4096
    returned, kept = count_faults("returned"), count_faults("kept")
    assert kept < returned / 4
    assert kept < 2 * pages


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_glibc", lambda: False)
    assert not devices.keep_freed_memory()


def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.resolve_device("auto") == torch.device("cpu")
    with pytest.raises(RunError, match="'cuda' was asked for.*use --device auto or cpu"):
        devices.resolve_device("cuda")
    with pytest.raises(ValueError, match="one of auto, cpu, cuda, mps; got 'gpu'"):
        devices.resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve_device("auto") == torch.device("cuda")


def test_settings_of_torch_are_restored() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    with devices.torch_settings(
        torch.device("cpu"), seed=3, num_threads=1, is_tuned=True, is_deterministic=True
    ):
        first = torch.rand(2)
        assert torch.get_num_threads() == 1
        assert torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(3)
    assert torch.equal(first, torch.rand(2))
