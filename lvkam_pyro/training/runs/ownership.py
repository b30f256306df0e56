"""Who writes a run folder: one process at a time, by a lock that dies with it."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_HELD = threading.local()
"""The folders that this thread owns: a fit inside a command owns its folder already."""


class FolderInUseError(FileExistsError):
    """A run folder that another process, or another thread, is writing."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Inside, this thread alone trains into the folder.

    The lock is of the operating system and goes with the process, however that ends; a file that is
    left behind locks nothing. Windows has no such lock: there nothing is refused.

    Args:
        folder: An existing folder.

    Yields:
        Nothing.

    Raises:
        FolderInUseError: If another process or thread owns it; the message says which process.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path, owned(Path(path)), owned(Path(path)):
        ...     os.listdir(path)
        ['.lock']
    """
    path = folder.resolve() / ".lock"
    held: set[Path] = vars(_HELD).setdefault("paths", set())
    if path in held or sys.platform == "win32":
        yield
        return
    file = _lock(path)
    held.add(path)
    try:
        yield
    finally:
        held.discard(path)
        # Before the lock goes: who opens the file later finds another one, or none.
        path.unlink(missing_ok=True)
        os.close(file)


def _lock(path: Path) -> int:
    """The locked file, with the owner's name in it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                _sign(file)
                return file
        except BlockingIOError as error:
            owner = os.read(file, 1000).decode() or "another process"
            os.close(file)
            raise FolderInUseError(
                f"{path.parent} is in use by {owner}. Wait until that ends, or choose another "
                "folder."
            ) from error
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether the file is still the one at the path: its owner removes it when done."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    # On a full disk the lock still locks, without a name.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
