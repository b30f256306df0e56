"""Ctrl-C: it ends a command, and what was finished is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what a command has kept."""


@contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Remembers each Ctrl-C, also one that someone further down has caught.

    A ladder that has kept draws ends by Ctrl-C and returns these, so that whoever called it would
    go on as if nothing had happened.

    Yields:
        The signals so far; always empty outside of the main thread, which alone receives them.

    Example:
        >>> with remembered_interrupts() as interrupts:
        ...     try:
        ...         signal.raise_signal(signal.SIGINT)
        ...     except KeyboardInterrupt:
        ...         len(interrupts)
        1
    """
    interrupts: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def remember(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
