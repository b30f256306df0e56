"""Data files for the command line: .npy, .npz, .csv and .parquet."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from torch import Tensor

from lvkam_pyro.training.validation import as_data

_HELD_OUT_FRACTION = 0.2

_LARGE = 2**28
"""Bytes (256 MiB) from which data are read where they lie, and split without a copy."""


def read_data(path: str | Path, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Reads data and holds a fifth of them out.

    A `.npy` file of 256 MiB or more, of torch's default dtype, is mapped and never read as a whole;
    what is held out is then its end.

    Args:
        path: A `.npy` array, a `.npz` archive with `x_train` and `x_test` or with one array, or a
            `.csv` of numbers, with or without a line of names, or a `.parquet` of numbers (with
            pyarrow).
        seed: Of the split, where the file does not make it.

    Returns:
        Data to train on and held-out data, in torch's default dtype.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of these kinds, is damaged, holds fewer than two data, or is
            large and of another dtype.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.ones((10, 3)))
        ...     train, test = read_data(f"{folder}/x.npy")
        >>> train.shape, test.shape
        (torch.Size([8, 3]), torch.Size([2, 3]))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no data file {path}.")
    readers = {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path} must end in {', '.join(readers)}; convert it to one of them.")
    try:
        arrays = readers[path.suffix](path)
    except ImportError as error:
        raise ValueError(
            f"{path} is read by pyarrow, which is not installed: pip install "
            "'lvkam-pyro[parquet]', or convert the file to .npy."
        ) from error
    except (ValueError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Cannot read {path}: {error}") from error
    data = [_as_tensor(array, path) for array in arrays]
    if len(data) == 2:
        return data[0], data[1]
    if len(data[0]) < 2:
        raise ValueError(
            f"{path} must hold at least two data, one to hold out; got {len(data[0])}."
        )
    return split(data[0], max(1, int(_HELD_OUT_FRACTION * len(data[0]))), seed=seed)


def split(x: Tensor, num_held_out: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Holds some data out: chosen by the seed, or of 256 MiB and more the last, without a copy.

    Args:
        x: Data (N, ...).
        num_held_out: How many to hold out.
        seed: Of the choice.

    Returns:
        The others, and those held out.

    Example:
        >>> rest, held_out = split(torch.arange(5.0), 2, seed=0)
        >>> rest.shape, torch.cat([rest, held_out]).sort().values
        (torch.Size([3]), tensor([0., 1., 2., 3., 4.]))
    """
    if x.numel() * x.element_size() >= _LARGE:
        return x[:-num_held_out], x[-num_held_out:]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    return x[order[num_held_out:]], x[order[:num_held_out]]


def _read_npy(path: Path) -> list[NDArray[np.generic]]:
    is_large = path.stat().st_size >= _LARGE
    return [np.load(path, allow_pickle=False, mmap_mode="r" if is_large else None)]


def _read_npz(path: Path) -> list[NDArray[np.generic]]:
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive)
        if {"x_train", "x_test"} <= set(names):
            return [archive["x_train"], archive["x_test"]]
        if len(names) != 1:
            raise ValueError(
                f"it holds the arrays {', '.join(names)}; name two of them x_train and x_test, or "
                "keep one"
            )
        return [archive[names[0]]]


def _read_csv(path: Path) -> list[NDArray[np.generic]]:
    with path.open(encoding="utf-8") as file:
        first = file.readline().split(",")
    with warnings.catch_warnings():
        # An empty table is refused by name later.
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        return [np.loadtxt(path, delimiter=",", skiprows=int(not _is_numeric(first)), ndmin=2)]


def _read_parquet(path: Path) -> list[NDArray[np.generic]]:
    table = pd.read_parquet(path, engine="pyarrow")
    words = [str(name) for name, kind in table.dtypes.items() if not is_numeric_dtype(kind)]
    if words:
        raise ValueError(f"its columns {', '.join(words)} hold no numbers")
    return [table.to_numpy(dtype=np.float64, na_value=np.nan)]


def _is_numeric(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _as_tensor(array: NDArray[np.generic], path: Path) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} must hold numbers; it holds {array.dtype}.")
    dtype = torch.get_default_dtype()
    if isinstance(array, np.memmap):
        return _mapped(array, path, dtype)
    data = torch.tensor(array).to(dtype)
    if data.isinf().any() and np.isfinite(array).all():
        largest = torch.finfo(dtype).max
        raise ValueError(f"{path} holds values beyond {largest:.2g}, the most of {dtype}; rescale.")
    return as_data(data, name=path.name)


def _mapped(array: NDArray[np.generic], path: Path, dtype: torch.dtype) -> Tensor:
    """A large array where it lies on the disk."""
    wanted = str(dtype).removeprefix("torch.")
    if array.dtype != np.dtype(wanted):
        raise ValueError(
            f"{path} is too large to convert in memory: it holds {array.dtype} in {array.nbytes} "
            f"bytes. Save it as {wanted}: np.save(path, x.astype('{wanted}'))."
        )
    return as_data(array, name=path.name)
