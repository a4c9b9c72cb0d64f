"""Whether a long call lets other Python threads work."""

import threading
from collections.abc import Callable
from typing import Any


def is_free_of_gil(call: Callable[[], Any]) -> bool:
    """Whether this thread can work while another makes a call of some tenths of a second.

    A call that holds Python's lock lets this thread work before and behind it only, however busy
    the machine is.
    """
    steps: list[str] = []

    def work() -> None:
        steps.append("begin")
        call()
        steps.append("end")

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and len(steps) < 10_000:
        if steps and steps[-1] != "end":
            steps.append("other")
            thread.join(timeout=1e-4)
    thread.join()
    return steps.index("end") > 20
