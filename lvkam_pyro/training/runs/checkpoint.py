"""Checkpoints: the whole state of a training as one file that is never half written."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch

FORMAT_VERSION = 2
"""The number that a checkpoint carries; a file with a larger one is refused."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: damaged, of a newer format, or of another model."""


def serialize_checkpoint(state: Mapping[str, object]) -> bytes:
    """Turns a training's state into the bytes of a checkpoint.

    The bytes are a snapshot: later changes of the tensors in `state` do not reach them.

    Args:
        state: Nested dictionaries and lists of tensors, scalars and strings; never a pickled class.

    Returns:
        A file's content, for `torch.load(..., weights_only=True)`.

    Example:
        >>> len(serialize_checkpoint({"epoch": 3, "weight": torch.zeros(2)})) > 0
        True
    """
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, **state}, buffer)
    return buffer.getvalue()


def deserialize_checkpoint(content: bytes) -> dict[str, object]:
    """The state, on the CPU, that `serialize_checkpoint` was given, with `"format_version"`.

    Args:
        content: The bytes.

    Example:
        >>> deserialize_checkpoint(serialize_checkpoint({"epoch": 3}))["epoch"]
        3
    """
    state: dict[str, object] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return state


def load_checkpoint(path: str | Path) -> dict[str, object]:
    """Reads a checkpoint onto the CPU, after checking every byte of it.

    Args:
        path: A file whose content `serialize_checkpoint` made.

    Returns:
        The state that was saved, with `"format_version"`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, is no checkpoint, or has a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    return _check_format(path, _read(path))


def _read(path: Path) -> object:
    content = path.read_bytes()
    try:
        # torch.load does not look at the checksums of its archive; zipfile does.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is None:
            return deserialize_checkpoint(content)
    except (zipfile.BadZipFile, UnpicklingError, EOFError, KeyError, RuntimeError) as error:
        raise _damaged(path) from error
    raise _damaged(path)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {path} is damaged or is no checkpoint of lvkam_pyro. Restore it from a "
        "copy, or start the training again in another folder."
    )


def _check_format(path: Path, state: object) -> dict[str, object]:
    version = state.get("format_version") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not isinstance(version, int):
        raise _damaged(path)
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint {path} has format {version}; this lvkam_pyro reads formats up to "
            f"{FORMAT_VERSION}. Install the newer lvkam_pyro that wrote it."
        )
    return state
