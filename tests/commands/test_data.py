"""Data files: three kinds, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lvkam_pyro.commands.data import read_data

X = np.random.default_rng(0).normal(size=(10, 3))


def save(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["x"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        np.savetxt(path, arrays["x"], delimiter=",")
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_data_are_split_by_the_seed(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x{suffix}", x=X)
    train, test = read_data(path, seed=1)
    assert train.shape == (8, 3)
    assert test.shape == (2, 3)
    assert train.dtype == torch.float32
    rows = torch.cat([train, test])
    assert torch.equal(rows.sort(0).values, torch.tensor(X, dtype=torch.float32).sort(0).values)
    assert torch.equal(read_data(path, seed=1)[0], train)
    assert not torch.equal(read_data(path, seed=2)[0], train)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvkam_pyro.commands.data._LARGE", 100)


@pytest.mark.usefixtures("large")
def test_large_file_is_mapped_and_its_end_held_out(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", x=X.astype(np.float32))
    train, test = read_data(path)
    assert torch.equal(torch.cat([train, test]), torch.tensor(X, dtype=torch.float32))
    assert (len(train), len(test)) == (8, 2)
    # Both are views of one memory: nothing was copied.
    assert test.data_ptr() == train.data_ptr() + train.numel() * train.element_size()


@pytest.mark.usefixtures("large")
def test_large_file_of_another_precision_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", x=X)
    with pytest.raises(ValueError, match=r"too large to convert .* float64 .*astype\('float32'\)"):
        read_data(path)


@pytest.mark.usefixtures("large")
def test_large_file_is_checked_as_others_are(tmp_path: Path) -> None:
    wrong = X.astype(np.float32)
    wrong[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"x\.npy holds NaN or infinity in 1 .* at \(7, 2\)"):
        read_data(save(tmp_path / "x.npy", x=wrong))


def test_archive_makes_its_own_split(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", x_train=X[:7], x_test=X[7:])
    train, test = read_data(path)
    assert (len(train), len(test)) == (7, 3)


def test_table_may_have_a_line_of_names(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("height,width\n" + "1.5,2\n" * 5)
    assert read_data(path)[0].shape == (4, 2)


WRONG = {
    "missing": ("x.npy", None, FileNotFoundError, r"no data file .*x\.npy"),
    "other ending": ("x.pkl", "1,2", ValueError, r"must end in \.npy, \.npz, \.csv, \.parquet"),
    "damaged": ("x.npy", "no array", ValueError, r"Cannot read .*x\.npy"),
    "damaged archive": ("x.npz", "no archive", ValueError, r"Cannot read .*x\.npz"),
    "words": ("x.csv", "a,b\n1,2\n3,four\n", ValueError, "Cannot read .*four"),
    "ragged": ("x.csv", "1,2\n3\n", ValueError, "Cannot read .*columns"),
    "empty table": ("x.csv", "a,b\n", ValueError, "x.csv is empty"),
    "empty file": ("x.csv", "", ValueError, "x.csv is empty"),
    "empty array": ("x.npy", "", ValueError, r"Cannot read .*x\.npy"),
    "NaN": ("x.csv", "1,2\nnan,3\n", ValueError, "NaN or infinity in 1 of its 4"),
    "one datum": ("x.csv", "1,2\n", ValueError, "at least two data.*got 1"),
}


@pytest.mark.parametrize(("name", "content", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_file_is_refused(
    tmp_path: Path, name: str, content: str | None, error: type[Exception], match: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=match):
        read_data(path)


WRONG_ARRAYS = {
    "names": ({"a": X, "b": X}, "arrays a, b; name two of them x_train and x_test"),
    "text": ({"x": np.array([["a", "b"]])}, r"x\.npz must hold numbers; it holds <U1"),
    "complex": ({"x": X + 1j}, "it holds complex128"),
    "too large": ({"x": X * 1e300}, r"values beyond 3\.4e\+38"),
    "no datum": ({"x": X[:0]}, r"x\.npz is empty: its shape is \(0, 3\)"),
    "no held-out datum": ({"x_train": X, "x_test": X[:0]}, "is empty"),
    "pickled": ({"x": np.array([[None]])}, "Cannot read"),
}


@pytest.mark.parametrize(("arrays", "match"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_wrong_arrays_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        read_data(save(tmp_path / "x.npz", **arrays))


def test_parquet_without_its_reader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: Path, engine: str) -> None:
        raise ImportError(f"Unable to find a usable engine {engine}")

    monkeypatch.setattr(pd, "read_parquet", missing)
    path = tmp_path / "x.parquet"
    path.touch()
    with pytest.raises(ValueError, match=r"pip install 'lvkam-pyro\[parquet\]', or convert"):
        read_data(path)


def test_parquet_is_a_table_of_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path, table = tmp_path / "x.parquet", pd.DataFrame(X, columns=["a", "b", "c"])
    table.to_parquet(path)
    save(tmp_path / "x.npy", x=X)
    assert torch.equal(read_data(path)[0], read_data(tmp_path / "x.npy")[0])
    table.assign(word="four").to_parquet(path)
    with pytest.raises(ValueError, match=r"Cannot read .*its columns word hold no numbers"):
        read_data(path)
    table.assign(d=pd.array([1, None, *range(8)], dtype="Int64")).to_parquet(path)
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 of its 40 entries.*\(1, 3\)"):
        read_data(path)
    path.write_text("no table")
    with pytest.raises(ValueError, match=r"Cannot read .*x\.parquet"):
        read_data(path)
