"""Ctrl-C during a comparison: whatever was finished is in the run folder."""

import csv
from pathlib import Path

import pytest
import torch

from lvkam_pyro.cli import INTERRUPTED, OK, main

QUICK = ("num_epochs=1", "hidden=[8]", "num_evidence_particles=64", "num_replicates=2")

INTERRUPTED_ESTIMATOR = '''
"""A recipe whose estimator is interrupted, and may catch it as a ladder does."""

import signal

from pyro.infer import Trace_ELBO

from lvkam_pyro.evidence.importance import ImportanceEvidence
from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.training.recipe import Recipe


class Interrupted(ImportanceEvidence):
    is_caught = False

    def estimate(self, model, x, guide=None, seed=0):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if not self.is_caught:
                raise
        return super().estimate(model, x, guide, seed)


def build(*, is_caught: bool = False) -> Recipe:
    estimator = Interrupted(64)
    estimator.is_caught = is_caught
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
def test_interrupted_comparison_keeps_what_is_finished(
    *,
    is_caught: bool,
    kept: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lvkam("fit", "two_moons", "--set", *QUICK) == OK
    Path("stopped.py").write_text(INTERRUPTED_ESTIMATOR)
    command = ("compare", "two_moons", "--num-data", "3", "--inference", "elbo", "stopped.py")
    options = ("--set", "num_evidence_particles=8", f"is_caught={str(is_caught).lower()}")
    assert lvkam(*command, "importance", *options) == INTERRUPTED
    error = capsys.readouterr().err
    assert f"interrupted. Kept in runs/two_moons/evidence.csv: {', '.join(kept)}." in error
    lines = Path("runs/two_moons/evidence.csv").read_text().splitlines()
    assert [row["model"] for row in csv.DictReader(lines)] == kept
    assert lvkam(*command[:-2], "stopped.py", "--set", "is_caught=false") == INTERRUPTED
    assert "No estimator had finished." in capsys.readouterr().err
