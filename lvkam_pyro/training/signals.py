"""Ctrl-C and SIGTERM: the one way in which handlers of theirs come and go."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Those by which users and machines end a process that may still write."""


@contextmanager
def handled_signals(
    handler: Callable[[int, FrameType | None], object], signals: Sequence[int] = SIGNALS
) -> Iterator[dict[int, Any]]:
    """Inside, a handler gets the signals.

    Args:
        handler: The handler: it takes the signal, and the frame where it came.
        signals: The signals.

    Yields:
        The handlers before, by signal; none outside of the main thread, which alone receives
        signals, so that nothing changes there.

    Example:
        >>> caught = []
        >>> with handled_signals(lambda number, frame: caught.append(number)):
        ...     signal.raise_signal(signal.SIGTERM)
        >>> caught == [signal.SIGTERM]
        True
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {each: signal.signal(each, handler) for each in signals} if is_main else {}
    try:
        yield before
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
