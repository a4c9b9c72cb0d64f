"""How a run is asked to stop: by a signal, in the middle of whatever it does.

The first signal lets the step end. A step on a CPU can take longer than a machine that is being
taken away gives; so a thread of its own, woken by the signal even while torch computes, writes down
the state from before the step when the step has not ended after a moment.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GRACE_S = 1.5  # what a step gets to end by itself
_ASKED_BY = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_caught() -> Iterator[list[str]]:
    """A list that gets the name of the first signal that asks this process to stop.

    The second signal of a kind does what it did before. Only the main thread may catch signals;
    elsewhere the list stays empty.
    """
    caught: list[str] = []
    if not _is_main_thread():
        yield caught
        return
    earlier = {number: signal.getsignal(number) for number in _ASKED_BY}

    def catch(number: int, frame: Any) -> None:
        caught.append(signal.Signals(number).name)
        signal.signal(number, earlier[signal.Signals(number)])

    for number in earlier:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def written_soon(write: Callable[[], None], *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Inside, ``write`` is called on a thread if the block goes on for a moment after a signal.

    Args:
        write: Called at most once; an error in it is dropped, since whoever gets the signal writes
            too, and tells.
        grace_s: How long after the signal, in seconds.
    """
    if not _is_main_thread() or os.name == "nt":  # there, a signal wakes no other thread
        yield
        return
    told, bell = os.pipe()
    os.set_blocking(bell, False)
    ended = threading.Event()

    def wait() -> None:
        rung = 0
        while rung not in _ASKED_BY and not ended.is_set():  # other signals ring too
            rung = os.read(told, 1)[0]
        if not ended.wait(grace_s):
            try:
                write()
            except Exception:  # the step's own writing meets the same and tells
                return

    earlier = signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    watcher = threading.Thread(target=wait, name="augmix-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        ended.set()
        os.write(bell, b"\0")
        watcher.join()
        os.close(bell)
        os.close(told)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
