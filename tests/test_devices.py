"""What a program tells the C library is told once and shows in the pages it asks for."""

import subprocess
import sys

import pytest

from augmix import devices

# Frees and takes 64 MiB eight times; tells how many pages the kernel had to hand out.
WORK = """
import ctypes, resource, sys
from augmix.devices import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
size = 64 * 2**20
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    block = ctypes.CDLL(None).malloc
    block.restype, block.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    place = block(size)
    ctypes.memset(place, 1, size)
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", WORK, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not devices.has_glibc(), reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    pages = 64 * 2**20 // 4096
    given_back, kept = count_faults("given back"), count_faults("kept")
    assert kept < given_back / 4
    assert kept < 2 * pages


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_glibc", lambda: False)
    assert not devices.keep_freed_memory()
