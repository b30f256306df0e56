"""Files that are either the old ones or the new ones, never half of each."""

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file's content in one step, safe against a crash and a full disk.

    The content goes to a hidden file in the same folder, is flushed to the disk, and takes the
    file's place by `os.replace`; a reader sees the old content or the new one.

    Args:
        path: The file, in an existing folder.
        content: All of its bytes.

    Raises:
        OSError: If it cannot be written (full disk, no permission). The message names the file,
            and what the file held before is intact.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "notes.txt"
        ...     write_atomically(path, b"epoch 1")
        ...     write_atomically(path, b"epoch 2")
        ...     path.read_bytes(), len(os.listdir(folder))
        (b'epoch 2', 1)
    """
    replace_file(path, lambda temporary: _write_and_flush(temporary, content))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file by what `write` makes of a temporary one in the same folder.

    Args:
        path: The file, in an existing folder.
        write: Writes all of the new file, to the path that it is given.

    Raises:
        OSError: As `write_atomically`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "notes.txt"
        ...     replace_file(path, lambda temporary: temporary.write_text("done"))
        ...     path.read_text()
        'done'
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        reason = f"cannot write ({error.strerror}); what the file held before is intact"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_and_flush(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
