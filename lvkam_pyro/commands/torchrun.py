"""Under torchrun: the processes of one command that train one model together."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The variables that torchrun sets in the environment of each process."""

_TIMEOUT = timedelta(minutes=10)
"""For which a process that does not answer is waited for; one that ended is noticed at once."""


def is_launched() -> bool:
    """Whether this process is one of several that torchrun has started.

    Example:
        >>> is_launched()
        False
    """
    return all(name in os.environ for name in _VARIABLES) and _number_of("WORLD_SIZE") > 1


def is_first() -> bool:
    """Whether this process is the one that speaks: the first, or the only one.

    Example:
        >>> is_first()
        True
    """
    return not is_launched() or _number_of("RANK") == 0


def local_device(device: str) -> str:
    """The device of this process: of `cuda`, the GPU with its number on this machine.

    Args:
        device: As torch names it.

    Example:
        >>> local_device("cuda"), local_device("cpu")
        ('cuda', 'cpu')
    """
    return f"cuda:{_number_of('LOCAL_RANK')}" if is_launched() and device == "cuda" else device


@contextmanager
def joined_processes(command: str, device: str) -> Iterator[None]:
    """Joins the other processes of torchrun, by NCCL between GPUs and gloo between CPUs.

    Args:
        command: What is run.
        device: That of this process.

    Yields:
        Nothing. Where torchrun has not started several processes, nothing is done.

    Raises:
        ValueError: If the command is none that several processes can run together.

    Example:
        >>> with joined_processes("fit", "cpu"):
        ...     dist.is_initialized()
        False
    """
    if not is_launched():
        yield
        return
    if command not in {"fit", "resume"}:
        raise ValueError(
            f"lvkam {command} runs in one process, and torchrun has started "
            f"{_number_of('WORLD_SIZE')}. Run it without torchrun; fit and resume take several."
        )
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    Among several, without Python's own end: a thread of gloo that lets go of a tensor after it
    aborts the process, and torchrun then ends the others too, whose work is not done.

    Args:
        code: The exit code.

    Example:
        >>> leave(0)
        Traceback (most recent call last):
        ...
        SystemExit: 0
    """
    if is_launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _number_of(variable: str) -> int:
    return int(os.environ.get(variable, "0"))
