"""Processes that make one result together on a shared folder, each piece by whoever is free.

A shard is one of them: a process that `torchrun` started, or an array job given ``--shard i/n``.
Shards exchange nothing but files. A piece is claimed by the lock of a file, which the system
releases when its process ends in whatever way, so pieces of a killed shard are taken over by the
others; marks on the disk say what is finished. Locks are those of `filelock`: on a network file
system they hold between machines if the server supports ``flock``.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from augmix.errors import RunError, check_shard
from augmix.files import LOCK_FILE, hold_folder, make_folder

Piece = TypeVar("Piece")

WAIT_S = 0.5
"""Time between two looks at pieces that other shards have claimed."""

_CLAIMS = "claims"
_ONCE = "{}.once"  # exists once a shard has done what one of them does for all
_ORDER_LOCK = "order.lock"  # held by one shard at a time


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` processes; ``index`` counts from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read a shard from the words ``i/n``.

        Example:
            >>> Shard.parse("2/8")
            Shard(index=2, count=8)
        """
        return cls(*check_shard(text))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def find_shard(text: str | None) -> Shard | None:
    """Return the shard that this process is: the one named, or its number under `torchrun`.

    None is a process that works alone.

    Raises:
        ValueError: If the text is no shard, or `torchrun` has started several processes as well.
    """
    rank, world_size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    is_launched = rank.isdigit() and world_size.isdigit() and int(world_size) > 1
    if text is None:
        return Shard(int(rank) + 1, int(world_size)) if is_launched else None
    shard = Shard.parse(text)
    if is_launched:
        raise ValueError(
            f"shard {text!r} does not go with torchrun, whose {world_size} processes are the "
            "shards; leave out one of the two"
        )
    return shard


def num_local_shards() -> int:
    """Return how many processes `torchrun` has started on this machine; 1 without it."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "") if find_shard(None) else ""
    return int(count) if count.isdigit() else 1


@dataclass(slots=True)
class SharedFolder:
    """A folder in which a process works alone, or one of several shards.

    Attributes:
        path: Holds the claims, and what else the shards keep there.
        shard: None if the process works alone.
    """

    path: Path
    shard: Shard | None
    _hold: Callable[[], AbstractContextManager[None]]
    _is_inside: bool = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other shard does the same, and keep them waiting. It can be nested."""
        if self.shard is None or self._is_inside:
            yield
            return
        with ExitStack() as held:
            held.enter_context(_wait_for(self.path / _ORDER_LOCK))
            held.enter_context(self._hold())
            self._is_inside = True
            try:
                yield
            finally:
                self._is_inside = False

    @contextmanager
    def once(self, name: str) -> Iterator[bool]:
        """Yield whether this process must do something: the first of all that work in the folder.

        The others wait until it is done. Shards that start when all others have ended begin again.
        """
        with self.alone():
            path = self.path / _ONCE.format(name)
            yield self.shard is None or not path.exists()
            if self.shard is not None:
                path.touch()

    def _other(self) -> Path | None:
        """The lock of another shard that works in the folder, if there is one."""
        own = self.path / _name(self.shard) if self.shard else None
        others = (path for path in sorted(self.path.glob("shard-*.lock")) if path != own)
        return next(filter(_held, others), None)

    def _refuse_shards(self, what: str, way_out: str) -> None:
        if busy := self._other():
            _, index, _, count = busy.stem.split("-")
            raise RunError(
                f"{what} is in use by shard {index}/{count}; wait until it has ended, start "
                f"another shard, or {way_out}"
            )

    def _clear(self) -> None:
        """Delete what the folder holds, in `alone` and once no other shard works in it."""
        last = [LOCK_FILE, _ORDER_LOCK]  # which are held
        for path in self.path.iterdir() if self.path.exists() else ():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in last:
                path.unlink(missing_ok=True)
        for name in last if self.shard else ():
            with suppress(OSError):  # Windows deletes no open files
                (self.path / name).unlink(missing_ok=True)

    def claim(self, name: str) -> FileLock | None:
        """Claim a piece; None if another shard has it. The piece may be finished by now."""
        path = self.path / _CLAIMS / f"{name}.lock"
        lock = FileLock(path, timeout=0, thread_local=False)
        with suppress(Timeout):
            lock.acquire()
            return lock
        return None


def _name(shard: Shard) -> str:
    return f"shard-{shard.index}-of-{shard.count}.lock"


@contextmanager
def share_folder(
    path: Path, shard: Shard | None, *, what: str, way_out: str, locked: Path | None = None
) -> Iterator[SharedFolder]:
    """Hold a folder, made if missing, for this process, or as one of several shards.

    The last process that ends deletes it, unless an error ends it.

    Args:
        what: What is made, for messages.
        way_out: What else the user can do, for messages.
        locked: Folder whose lock a process that works alone holds; ``path`` if not given.

    Raises:
        RunError: If a process works there alone, or the same shard does.
    """
    shared = SharedFolder(
        path, shard, lambda: hold_folder(locked or path, what=what, way_out=way_out)
    )
    own = FileLock(path / _name(shard), timeout=0, thread_local=False) if shard else None
    with ExitStack() as stack:
        if own is None:
            shared._refuse_shards(what, way_out)  # before they find the folder held
            stack.enter_context(shared._hold())
            shared._refuse_shards(what, way_out)  # which have begun meanwhile
        else:
            with shared.alone():
                make_folder(path / _CLAIMS)
                if not shared._other():  # the first of a new start
                    for done in path.glob(_ONCE.format("*")):
                        done.unlink()
                try:
                    stack.enter_context(own)
                except Timeout:
                    raise RunError(
                        f"{what} is in use by shard {shard}, which is this one; give every job "
                        f"another number, wait until it has ended, or {way_out}"
                    ) from None
        yield shared
        with shared.alone():
            if own is not None:
                own.release()  # else two that end together would each take the other for the last
            if not shared._other():
                shared._clear()
    with suppress(OSError):  # another process may be here by now
        if shard is None and locked is None:
            (path / LOCK_FILE).unlink()
        path.rmdir()


def _held(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        with FileLock(path, timeout=0):
            return False
    except FileNotFoundError:  # its folder was deleted meanwhile
        return False
    except Timeout:
        return True


@contextmanager
def _wait_for(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made with its folder; whoever holds it may delete both."""
    lock = FileLock(path, thread_local=False)
    while not lock.is_locked:
        make_folder(path.parent)
        with suppress(FileNotFoundError):  # deleted between the two lines
            lock.acquire(poll_interval=WAIT_S / 10)
    try:
        yield
    finally:
        lock.release()


@dataclass
class Pieces(Generic[Piece]):
    """Hands out the pieces of a result that nobody has finished, beginning with the shard's part.

    Args:
        shared: The folder of the claims.
        pieces: All that are not finished.
        name: Name of a piece's claim, as of a file.
        is_done: Whether a piece is finished by now.
    """

    shared: SharedFolder
    pieces: Iterable[Piece]
    name: Callable[[Piece], str]
    is_done: Callable[[Piece], bool]
    _free: deque[Piece] = field(default_factory=deque)
    _busy: list[Piece] = field(default_factory=list)
    _others: list[Piece] = field(default_factory=list)
    _claims: dict[str, FileLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pieces, shard = list(self.pieces), self.shared.shard
        first = shard.index - 1 if shard else 0
        step = shard.count if shard else 1
        for offset in range(step):  # its own part, then those of the shards behind it
            self._free.extend(pieces[(first + offset) % step :: step])

    def take(self) -> Piece | None:
        """Claim a piece; None if there is none, or the others have all that is left."""
        while self._free:
            piece = self._free.popleft()
            if self.shared.shard is None:
                return piece
            if self.is_done(piece):
                self._others.append(piece)
                continue
            lock = self.shared.claim(self.name(piece))
            if lock is None:
                self._busy.append(piece)
            elif self.is_done(piece):
                self._release(lock)
                self._others.append(piece)
            else:
                self._claims[self.name(piece)] = lock
                return piece
        self._free.extend(self._busy)
        self._busy.clear()
        return None

    def finish(self, piece: Piece) -> None:
        """Give back a claimed piece that is finished now."""
        if self.shared.shard is not None:
            self._release(self._claims.pop(self.name(piece)))

    def finished_by_others(self) -> list[Piece]:
        """Return pieces that other shards have finished, each once."""
        found, self._others = self._others, []
        return found

    @property
    def num_left(self) -> int:
        """Number of pieces to take: free ones, and those that others had claimed."""
        return len(self._free) + len(self._busy)

    def close(self) -> None:
        """Give back all claims."""
        for lock in self._claims.values():
            lock.release()
        self._claims.clear()

    def _release(self, lock: FileLock) -> None:
        """Release the claim of a finished piece, whose mark tells from now on."""
        with suppress(OSError):  # Windows deletes no open files
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
