"""Checkpoints: whatever ended a training, it goes on from there or says why it cannot."""

import errno
import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from lvkam_pyro.training.loop import load_fit
from lvkam_pyro.training.runs import checkpoint, journal
from lvkam_pyro.training.runs.checkpoint import (
    CheckpointError,
    load_checkpoint,
    serialize_checkpoint,
)
from lvkam_pyro.training.runs.run_folder import RunFolder
from tests.training.toy import (
    FactorModel,
    assert_same_weights,
    read_metrics,
    stop_at,
    toy_data,
    toy_fit,
    toy_model,
    toy_recipe,
)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_resumed_training_ends_bit_for_bit_as_an_unbroken_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    unbroken = toy_fit()
    with pytest.raises(error):
        toy_fit(recipe=toy_recipe(regularizer=stop_at(3, error)), folder=tmp_path)
    assert len(read_metrics(tmp_path)) == 2
    resumed = toy_fit(toy_model(9), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, resumed)
    assert len(resumed.metrics) == 4
    again = toy_fit(toy_model(8), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, again)


def test_without_resume_a_run_is_not_overwritten(tmp_path: Path) -> None:
    toy_fit(folder=tmp_path)
    content = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        toy_fit(folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == content


def test_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_WRITES", -1.0)
    with pytest.raises(KeyboardInterrupt):
        toy_fit(recipe=toy_recipe(regularizer=stop_at(3, KeyboardInterrupt)), folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*intact") as caught:
        toy_fit(folder=tmp_path, resume=True)
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def damage(content: bytes, kind: str) -> bytes:
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "empty": b"",
        "text": b"epoch,loss\n",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "one bit"])
def test_damaged_checkpoint_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    toy_fit(folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged"):
        toy_fit(folder=tmp_path, resume=True)


def test_newer_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(serialize_checkpoint({"format_version": checkpoint.FORMAT_VERSION + 1}))
    with pytest.raises(CheckpointError, match=r"has format 3.*Install the newer"):
        toy_fit(folder=tmp_path, resume=True)
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is damaged or is no checkpoint"):
        toy_fit(folder=tmp_path, resume=True)
    path.write_bytes(serialize_checkpoint({"epoch": 3}))
    with pytest.raises(CheckpointError, match="it has no metrics"):
        toy_fit(folder=tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nothing.pt")


def test_resume_refuses_other_settings_and_other_models(tmp_path: Path) -> None:
    toy_fit(folder=tmp_path)
    with pytest.raises(CheckpointError, match="batch_size was 16 and is 8"):
        toy_fit(recipe=toy_recipe(batch_size=8), folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="seed was 0 and is 1"):
        toy_fit(folder=tmp_path, resume=True, seed=1)

    class Wide(FactorModel):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Linear(2, 2)

    with pytest.raises(CheckpointError, match="another model or guide"):
        toy_fit(Wide(), folder=tmp_path, resume=True)


def test_resume_of_an_empty_folder_starts_anew(tmp_path: Path) -> None:
    assert_same_weights(toy_fit(folder=tmp_path, resume=True), toy_fit())


def test_fit_is_read_back_from_its_folder(tmp_path: Path) -> None:
    first = toy_fit(folder=tmp_path)
    again = load_fit(toy_model(7), toy_data(), toy_recipe(), tmp_path)
    assert_same_weights(first, again)
    assert again.metrics == first.metrics
    with pytest.raises(CheckpointError, match="data_hash was"):
        load_fit(toy_model(7), toy_data() + 1, toy_recipe(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_fit(toy_model(7), toy_data(), toy_recipe(), tmp_path / "nowhere")


def test_metrics_left_behind_by_a_kill_catch_up(tmp_path: Path) -> None:
    result = toy_fit(folder=tmp_path)
    folder = RunFolder(tmp_path)
    folder.write_metrics(result.metrics[:2])
    toy_fit(toy_model(9), folder=tmp_path, resume=True)
    assert read_metrics(tmp_path) == result.metrics


class Malicious:
    """A thing that pickle would run while it reads a file."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("pwned",)


def test_checkpoint_that_runs_code_is_refused_and_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format_version": 1, "module": Malicious()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is damaged or is no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "pwned").exists()
    with zipfile.ZipFile(tmp_path / "checkpoint.pt") as archive:
        assert archive.testzip() is None, "the file itself is whole"
