"""Comparisons: several models in one table; what is kept, also on Ctrl-C and SIGTERM."""

import csv
import json
from pathlib import Path

import pytest
import torch

from lvkam_pyro.cli import INTERRUPTED, OK, TERMINATED, WRONG_INPUT, main

QUICK = ("num_epochs=1", "hidden=[8]", "num_evidence_particles=64", "num_replicates=2")

INTERRUPTED_ESTIMATOR = '''
"""A recipe whose estimator is interrupted, and may catch it as a ladder does."""

import signal

from pyro.infer import Trace_ELBO

from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.training.recipe import Recipe


class Interrupted(Importance):
    is_caught = False
    signal = "SIGINT"

    def estimate(self, *args, **options):
        try:
            signal.raise_signal(signal.Signals[self.signal])
        except KeyboardInterrupt:
            if not self.is_caught:
                raise
        return super().estimate(*args, **options)


def build(*, is_caught: bool = False, signal: str = "SIGINT") -> Recipe:
    estimator = Interrupted(64)
    estimator.is_caught = is_caught
    estimator.signal = signal
    return Recipe(
        name="stopped",
        build_guide=lambda model, x: PriorGuide(model),
        objective=Trace_ELBO(),
        estimators=(estimator,),
    )
'''


def lvkam(*arguments: str) -> int:
    return main([*arguments, "--threads", str(torch.get_num_threads())])


@pytest.mark.parametrize(("is_caught", "kept"), [(False, ["elbo"]), (True, ["elbo", "stopped.py"])])
@pytest.mark.parametrize(
    ("signal", "code", "word"),
    [("SIGINT", INTERRUPTED, "interrupted"), ("SIGTERM", TERMINATED, "terminated")],
)
def test_interrupted_comparison_keeps_what_is_finished(
    *,
    is_caught: bool,
    kept: list[str],
    signal: str,
    code: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    Path("stopped.py").write_text(INTERRUPTED_ESTIMATOR)
    command = ("compare", "two_moons", "--num-data", "3", "--inference", "elbo", "stopped.py")
    ending = (f"is_caught={str(is_caught).lower()}", f"signal={signal}")
    options = ("--set", "num_evidence_particles=8", *ending)
    assert lvkam(*command, "importance", *options) == code
    error = capsys.readouterr().err
    assert f"{word}. Kept in runs/two_moons/evidence.csv: {', '.join(kept)}." in error
    lines = Path("runs/two_moons/evidence.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert [row["recipe"] for row in rows] == kept
    assert {row["model"] for row in rows} == {"two_moons"}
    assert lvkam(*command[:-2], "stopped.py", "--set", f"signal={signal}") == code
    assert "No estimator had finished." in capsys.readouterr().err


SMALL = ("--num-data", "4", "--set", "num_evidence_particles=64")


MODELS = {"a": ("two_moons", 1), "b": ("two_moons", 3), "c": ("rings", 1)}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, of which the third holds out other data."""
    path = tmp_path_factory.mktemp("compare")
    for folder, (model, components) in MODELS.items():
        options = (*QUICK, f"num_components={components}")
        out = str(path / "runs" / folder)
        assert lvkam("fit", model, "--out", out, "--set", *options) == OK
    return path


@pytest.fixture
def runs(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three runs in the working folder."""
    monkeypatch.chdir(fitted)


@pytest.mark.usefixtures("runs")
def test_several_models_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    command = ("compare", "runs/a", "runs/b", "--inference", "importance", "amortized", *SMALL)
    capsys.readouterr()
    assert lvkam(*command, "--out", "compared") == OK
    said = capsys.readouterr().out
    assert "4 held-out data of two_moons, two_moons" in said
    assert "log Bayes factors against runs/a, of 4 data" in said
    lines = Path("compared/evidence.csv").read_text().splitlines()
    rows = [(row["model"], row["recipe"], row["estimator"]) for row in csv.DictReader(lines)]
    recipes = ("importance", "amortized")
    assert rows == [(run, name, "Importance") for run in ("runs/a", "runs/b") for name in recipes]
    assert {path.name for path in Path("compared").iterdir()} == {
        "evidence.csv", "evidence.json", "evidence.tex", "plots",
    }  # fmt: skip
    assert not Path("runs/a/evidence.csv").exists()


@pytest.mark.usefixtures("runs")
def test_recipe_and_estimator_stand_in_columns_of_their_own() -> None:
    command = ("compare", "runs/a", "runs/b", "--inference", "importance", "elbo", *SMALL)
    assert lvkam(*command, "--out", "compared") == OK
    lines = Path("compared/evidence.csv").read_text().splitlines()
    rows = [(row["recipe"], row["estimator"]) for row in csv.DictReader(lines)]
    assert rows == [("importance", "Importance"), ("elbo", "ELBO")] * 2


WRONG_ESTIMATOR = """
from dataclasses import replace

from pyro.infer import Trace_ELBO

import lvkam_pyro as lv


class Shifted(lv.evidence.Importance):
    def estimate(self, *args, **kwargs):
        evidence = super().estimate(*args, **kwargs)
        return replace(evidence, total=evidence.total + 1e6)


def build(*, num_particles: int = 64) -> lv.Recipe:
    return lv.Recipe(
        name="shifted",
        build_guide=lambda model, x: lv.PriorGuide(model),
        objective=Trace_ELBO(),
        estimators=(Shifted(num_particles),),
    )
"""


@pytest.mark.usefixtures("runs")
def test_recipes_of_one_run_are_held_against_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("shifted.py").write_text(WRONG_ESTIMATOR)
    command = ("compare", "runs/a", "--inference", "importance", "elbo", "shifted.py", *SMALL)
    capsys.readouterr()
    assert lvkam(*command, "--out", "one") == OK
    said = capsys.readouterr().out
    assert "runs/a: Importance (importance) and Importance (shifted.py) disagree by 1e+06" in said
    assert "Bayes" not in said
    rows = list(csv.DictReader(Path("one/evidence.csv").read_text().splitlines()))
    assert {row["model"] for row in rows} == {"runs/a"}
    assert [row["is_lower_bound"] for row in rows] == ["False", "True", "False"]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("models", "match"),
    [
        (("runs/a", "runs/c"), r"runs/a and runs/c hold out different data"),
        (("runs/a", "runs/a"), "Expected different models"),
        (("runs/a", "runs/b", "--run", "runs/a"), "folder of one model, but 2 are given"),
        (("runs/a", "runs/z"), "There is no run at runs/z"),
    ],
)
def test_models_that_cannot_be_compared(
    models: tuple[str, ...], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvkam("compare", *models, "--inference", "importance", *SMALL) == WRONG_INPUT
    assert match in capsys.readouterr().err


def test_the_hardest_data_are_named_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    few = ("--inference", "amortized", "--num-data", "20", "--set", "num_evidence_particles=64")
    assert lvkam("compare", "two_moons", *few) == OK
    (row,) = json.loads(Path("runs/two_moons/evidence.json").read_text())
    hardest = int(torch.tensor(row["log_evidence"]).argmin())
    assert f"hardest data, with their nats by Importance: {hardest} (" in capsys.readouterr().out
    assert Path("runs/two_moons/plots/hardest.png").is_file()
