"""The command line around a run: resume, dry runs, projects, help and completion."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lvkam_pyro.cli import _COMMANDS, FAILED, INTERRUPTED, OK, WRONG_INPUT, main, make_parser
from lvkam_pyro.commands.parsers import examples_of
from lvkam_pyro.commands.setup import load_run
from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from tests.test_cli import STOPPING, lvkam, own_folder, weights

__all__ = ["own_folder"]

ROOT = Path(__file__).parent.parent
QUICK = ("inference.num_epochs=1", "hidden=[8]")


def test_resume_needs_no_more_than_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("stopping.py").write_text(STOPPING)
    command = ("fit", "two_moons", "--inference", "stopping.py", "--set", "switch=switch")
    assert lvkam(*command, "--out", "unbroken") == OK
    Path("switch").write_text("interrupt")
    assert lvkam(*command, "--out", "broken") == INTERRUPTED
    Path("switch").write_text("diverge")
    assert lvkam("resume", "broken") == OK, "the recipe's count of calls is beyond its stop"
    first, second = weights("unbroken"), weights("broken")
    assert all(torch.equal(first[name], second[name]) for name in first)
    capsys.readouterr()
    assert lvkam("resume", "broken") == OK
    assert "broken is finished, after 4 epochs" in capsys.readouterr().out


def test_resume_of_a_run_without_a_checkpoint_begins_anew() -> None:
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    before = weights("runs/two_moons")
    Path("runs/two_moons/checkpoint.pt").unlink()
    assert lvkam("resume", "two_moons") == OK
    after = weights("runs/two_moons")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resume_makes_the_pictures_of_a_run_killed_before_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    settings, plots = Path("runs/two_moons/settings.json"), Path("runs/two_moons/plots")
    finished = json.loads(settings.read_text())
    assert finished.pop("finished")
    settings.write_text(json.dumps(finished))
    before = weights("runs/two_moons")
    names = {path.name for path in plots.iterdir()}
    for picture in plots.iterdir():
        picture.unlink()
    assert lvkam("resume", "two_moons") == OK
    assert {path.name for path in plots.iterdir()} == names
    after = weights("runs/two_moons")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert lvkam("resume", "two_moons") == OK
    assert "is finished, after 1 epochs" in capsys.readouterr().out


def test_resume_refuses_what_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert lvkam("resume", "nowhere") == WRONG_INPUT
    assert "no run at nowhere or runs/nowhere" in capsys.readouterr().err
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    Path("runs/two_moons/checkpoint.pt").write_bytes(b"")
    assert lvkam("resume", "two_moons") == FAILED
    assert "checkpoint.pt is damaged" in capsys.readouterr().err


def test_dry_run_prints_the_settings_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("fit", "two_moons", "--set", *QUICK, "scale=0.3", "--seed", 4)
    assert lvkam(*command, "--dry-run") == OK
    assert not list(Path().iterdir())
    said = json.loads(capsys.readouterr().out)
    assert said["model"]["options"]["scale"] == 0.3
    assert said["data_shape"] == [1600, 2]
    assert said["updates"] == 13
    assert lvkam(*command) == OK
    kept = json.loads(Path("runs/two_moons/settings.json").read_text())
    assert {key: kept[key] for key in ("model", "inference", "data", "seed")} == {
        key: said[key] for key in ("model", "inference", "data", "seed")
    }
    before = load_checkpoint("runs/two_moons/checkpoint.pt")["metrics"]
    assert lvkam(*command, "--dry-run") == WRONG_INPUT
    assert lvkam(*command, "--dry-run", "--overwrite") == OK
    assert load_checkpoint("runs/two_moons/checkpoint.pt")["metrics"] == before


def test_patience_ends_a_fit_whose_commands_then_use_the_best_epoch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steep = ("inference.num_epochs=60", "patience=1", "hidden=[8]", "learning_rate=0.5")
    few = ("num_evidence_particles=64", "num_replicates=2")
    assert lvkam("fit", "two_moons", "--set", *steep, *few) == OK
    said = re.search(r"(\d+) epochs, of which (\d+) was the best", capsys.readouterr().out)
    assert said is not None
    assert int(said[1]) == int(said[2]) + 1 < 60
    state = load_checkpoint("runs/two_moons/checkpoint.pt")
    assert state["identity"]["num_data"] == 1440, "a tenth of 1600 was held out"
    run = load_run("two_moons")
    for name, value in run.fit.model.state_dict().items():
        assert torch.equal(value, state["best"][f"model.{name}"])
    assert lvkam("evidence", "two_moons", "--num-data", 3) == OK
    assert lvkam("resume", "two_moons") == OK


def test_dry_run_finds_data_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.csv").write_text("1,2,3\n2,3,1\n" * 5)
    wrong = ("--data", "x.csv", "--set", "num_outputs=2", "--dry-run")
    assert lvkam("fit", "two_moons", *wrong) == WRONG_INPUT
    assert "is of data of shape (2,); the data are (3,)" in capsys.readouterr().err


def test_new_project_fits_at_once_and_its_test_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "deep/rings"]) == OK
    said = capsys.readouterr().out
    assert "lvkam fit models/two_moons.py --inference inference/amortized.py" in said
    assert "# rings" in Path("deep/rings/README.md").read_text()
    assert main(["new", "deep/rings"]) == WRONG_INPUT
    assert "is there already and not empty" in capsys.readouterr().err
    monkeypatch.chdir("deep/rings")
    own = ("fit", "models/two_moons.py", "--inference", "inference/amortized.py")
    assert lvkam(*own, "--set", *QUICK) == OK
    assert Path("runs/two_moons/plots/loss.png").exists()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout


def test_new_project_of_unknown_programs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "rings", "--model", "moons"]) == WRONG_INPUT
    assert "no model program 'moons'" in capsys.readouterr().err
    assert not Path("rings").exists()


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_shows_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("settings.toml").write_text("seed = 3\n")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "130 stopped by Ctrl-C, 143 by SIGTERM" in text
    for line in examples_of(_COMMANDS[command]):
        assert f"\n  {line}\n" in text
        program, *arguments = shlex.split(line)
        assert program == "lvkam"
        assert make_parser().parse_args(arguments)["command"] == command


def test_every_command_has_examples() -> None:
    text = make_parser().format_help()
    listed = re.search(r"{(.*)}", text)
    assert listed is not None
    assert sorted(listed[1].split(",")) == sorted(_COMMANDS)
    assert all(examples_of(function) for function in _COMMANDS.values())


def test_completion_names_the_commands_and_their_flags() -> None:
    pytest.importorskip("shtab")
    command = [sys.executable, "-m", "lvkam_pyro.cli", "--print_completion=shtab-bash"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert all(word in done.stdout for word in ("diagnose", "dry-run", "num-samples"))
