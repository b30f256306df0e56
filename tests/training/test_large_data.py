"""Data on the disk: trained on as those in memory, and never read as a whole."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lvkam_pyro.tracing.arguments import hash_data
from lvkam_pyro.training import batches
from lvkam_pyro.training.loop import fit, load_fit
from lvkam_pyro.training.validation import as_data
from tests.training.toy import assert_same_weights, toy_data, toy_fit, toy_model, toy_recipe

X = toy_data()
SEVERAL = 3 * 7
"""Numbers in a chunk of seven rows: the toy's forty rows are six chunks."""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_CHUNK_NUMBERS", SEVERAL)


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    np.save(tmp_path / "x.npy", X.numpy())
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.usefixtures("small_chunks")
def test_mapped_file_trains_as_the_tensor_does(tmp_path: Path, mapped: np.memmap) -> None:
    expected = toy_fit()
    folder = tmp_path / "run"
    fitted = fit(toy_model(), mapped, toy_recipe(), folder=folder, progress=False)
    assert_same_weights(expected, fitted)
    # The same data, so the same training: its run is read back with either.
    assert_same_weights(expected, load_fit(toy_model(5), X, toy_recipe(), folder))
    X.numpy().tofile(tmp_path / "x.bin")
    from_file = torch.from_file(str(tmp_path / "x.bin"), size=X.numel()).view(X.shape)
    assert_same_weights(expected, fit(toy_model(), from_file, toy_recipe(), progress=False))


def test_mapped_file_is_not_copied(mapped: np.memmap) -> None:
    assert as_data(mapped).data_ptr() == mapped.ctypes.data
    assert as_data(mapped[5:]).data_ptr() == mapped[5:].ctypes.data


@pytest.mark.usefixtures("small_chunks")
def test_bad_entry_in_a_later_chunk_is_found(tmp_path: Path) -> None:
    wrong = X.clone()
    wrong[20, 1], wrong[38, 2] = torch.inf, torch.nan
    np.save(tmp_path / "x.npy", wrong.numpy())
    with pytest.raises(ValueError, match=r"in 2 of its 120 entries, first inf at \(20, 1\)"):
        as_data(np.load(tmp_path / "x.npy", mmap_mode="r"))


@pytest.mark.usefixtures("small_chunks")
def test_column_that_changes_in_its_last_chunk_is_not_constant() -> None:
    x = X.clone()
    x[:, 1:] = 1.5
    x[-1, 1] = 2.0
    with pytest.raises(ValueError, match=r"constant columns.*: 2\. Drop"):
        fit(toy_model(), x, toy_recipe(), progress=False)


def test_hash_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [hash_data(x) for x in (X, X.T, torch.tensor(3.0), X[:0])]
    monkeypatch.setattr("lvkam_pyro.tracing.arguments._HASHED_NUMBERS", SEVERAL)
    assert [hash_data(x) for x in (X, X.T, torch.tensor(3.0), X[:0])] == whole
    assert len(set(whole)) == 4


def test_start_and_guide_get_a_sample_of_many_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    recipe = toy_recipe(start=lambda model, x: seen.append(x), num_epochs=1)
    x = torch.randn(2**14 + 1, 3)
    fit(toy_model(), x, recipe, progress=False)
    assert torch.equal(seen[0], x[::2])
    monkeypatch.setattr(batches, "_SAMPLE_NUMBERS", 3 * 4000)
    fit(toy_model(), x, recipe, progress=False)
    assert torch.equal(seen[1], x[::5])


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, pyro, torch
import pyro.distributions as dist
from lvkam_pyro.training.loop import fit
from tests.training.toy import toy_recipe

class Mean(pyro.nn.PyroModule):
    def __init__(self, size):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.ones(size))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.loc + z, 1.0).to_event(1), obs=x)

class Prior(pyro.nn.PyroModule):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))

folder = Path(sys.argv[1])
x = np.load(folder / "x.npy", mmap_mode="r")
used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
limit = used + x.nbytes // 2
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if sys.argv[2] == "copied":
    x = np.array(x)
recipe = toy_recipe(num_epochs=1, batch_size=16, build_guide=lambda model, x: Prior())
print(fit(Mean(x.shape[1]), x, recipe, x_test=x[:16], folder=folder, progress=False).metrics)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("kind", ["mapped", "copied"])
def test_whole_file_is_never_in_memory(tmp_path: Path, kind: str) -> None:
    """Half of the file's size is all that the process may allocate beyond its start."""
    shape = (2000, 2**15)
    # Large blocks go back to the system when they are freed: the C library's heap hoards them.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=shape)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), kind],
        cwd=Path(__file__).parent.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if kind == "mapped":
        assert done.returncode == 0, done.stderr
    else:
        assert "MemoryError" in done.stderr
