"""Ctrl-C and SIGTERM: they end a command, and what was finished is kept."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from lvkam_pyro.training.signals import handled_signals


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which `kill`, batch systems and containers end a process."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, with what a command has kept."""


def raise_interrupt(number: int, frame: FrameType | None = None) -> NoReturn:
    """The handler of both signals: it raises KeyboardInterrupt, or for SIGTERM its own kind of it.

    Args:
        number: The signal.
        frame: Where it came; not used.

    Raises:
        KeyboardInterrupt: Always; Terminated of SIGTERM.

    Example:
        >>> try:
        ...     raise_interrupt(signal.SIGTERM)
        ... except KeyboardInterrupt as interrupt:
        ...     interrupt
        Terminated()
    """
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM ends what runs as Ctrl-C does: by an exception, and not at once.

    Whatever keeps its work when it is interrupted then keeps it here too. A process that was told
    to ignore the signal still does. Signals reach the main thread alone; elsewhere nothing changes.

    Yields:
        Nothing.

    Example:
        >>> with terminable():
        ...     try:
        ...         signal.raise_signal(signal.SIGTERM)
        ...     except KeyboardInterrupt as interrupt:
        ...         interrupt
        Terminated()
    """
    is_ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    with handled_signals(raise_interrupt, () if is_ignored else (signal.SIGTERM,)):
        yield


@contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Remembers each Ctrl-C and SIGTERM, also one that someone further down has caught.

    A ladder that has kept draws ends by either and returns these, so that whoever called it would
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

    def remember(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise_interrupt(number, frame)

    with handled_signals(remember):
        yield interrupts
