"""A run folder is one process's at a time."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lvkam_pyro.cli import OK, WRONG_INPUT, main
from lvkam_pyro.training.runs.ownership import FolderInUseError, owned
from lvkam_pyro.training.runs.run_folder import RunFolder
from tests.training.test_loop import toy_fit

ROOT = Path(__file__).parent.parent.parent.parent

HOLD = """
import sys
from pathlib import Path
from lvkam_pyro.training.runs.ownership import owned
with owned(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One that owns the folder until it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_second_process_is_refused_and_told_who_owns_it(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        name = f"process {process.pid} on {socket.gethostname()}"
        with pytest.raises(FolderInUseError, match=f"is in use by {name}"):
            toy_fit(folder=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert len(toy_fit(folder=tmp_path).metrics) > 0, "the lock died with its process"


def test_second_command_is_refused_with_exit_code_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = ("--threads", str(torch.get_num_threads()))
    fit = ("fit", "two_moons", "--set", "inference.num_epochs=1", "hidden=[8]", *threads)
    assert main(list(fit)) == OK
    before = Path("runs/two_moons/checkpoint.pt").read_bytes()
    with other_process(Path("runs/two_moons").resolve()) as process:
        for command in ((*fit, "--overwrite"), (*fit, "--resume")):
            capsys.readouterr()
            assert main(list(command)) == WRONG_INPUT
            said = capsys.readouterr().err
            assert f"runs/two_moons is in use by process {process.pid} on" in said
            assert said.count("\n") == 1
    assert Path("runs/two_moons/checkpoint.pt").read_bytes() == before


def test_owner_may_ask_again_and_leaves_no_file(tmp_path: Path) -> None:
    with owned(tmp_path), RunFolder(tmp_path).owned():
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())


def test_second_thread_is_refused(tmp_path: Path) -> None:
    refused: list[FolderInUseError] = []

    def train() -> None:
        try:
            toy_fit(folder=tmp_path)
        except FolderInUseError as error:
            refused.append(error)

    with owned(tmp_path):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert len(refused) == 1
