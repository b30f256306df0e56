"""The figures of a validation by hand, and every public estimator in it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.cli import OK, WRONG_INPUT, main
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.report import to_markdown
from lvkam_pyro.problems.suite import estimator_names, load_problem, make_estimator
from lvkam_pyro.problems.validation import ValidationTrial, validate
from tests.evidence.results import result

EXACT = torch.tensor([-1.0, -2.0], dtype=torch.float64)
LADDER = Ladder(num_temperatures=4, num_chains=4, num_warmup=4, num_samples=4)


def problem(exact: Tensor = EXACT) -> Problem:
    return Problem("mine", "mine", print, torch.zeros(len(exact), 1), exact, 1, "by hand")


def trial(*results: lv.evidence.Evidence) -> ValidationTrial:
    return ValidationTrial(problem(), "A", results, 1.0)


def test_figures_by_hand() -> None:
    both = trial(
        result("m", "A", [-0.5, -2.0], error=0.2).evidence,
        result("m", "A", [-1.0, -1.5], error=0.2).evidence,
    )
    assert both.error == pytest.approx(0.25)
    # Each mean over two data has half the total's error; then the mean over two runs.
    assert both.standard_error == pytest.approx(0.1 / 2**0.5)
    assert both.z == pytest.approx(0.25 / both.standard_error, rel=1e-4)
    assert both.root_mean_square_error == pytest.approx((0.5 / 4) ** 0.5)
    assert both.cost == pytest.approx(0.125)


def test_z_leaves_discretization_aside_and_has_the_errors_sign() -> None:
    low = result("m", "A", [-1.5, -2.5], error=0.2, discretization=0.4).evidence
    assert trial(low).z == pytest.approx(-(0.5 - 0.2) / 0.1, rel=1e-4)
    assert trial(replace(low, discretization_error=torch.ones(2))).z == 0.0
    exact = result("m", "A", [-1.0, -2.0], error=0.0).evidence
    assert trial(exact).z == 0.0
    assert trial(result("m", "A", [-1.0, -1.0], error=0.0).evidence).z == math.inf


def test_verdict_counts_all_seeds() -> None:
    good, bad = (result("m", "A", [0.0, 0.0], reliable=r).evidence for r in (True, False))
    assert trial(good, good).verdict == "reliable"
    assert trial(good, bad).verdict == "2/4 bad"
    assert (
        trial(result("m", "A", [0.0, 0.0], is_lower_bound=True).evidence).verdict == "lower bound"
    )


def test_every_public_estimator_is_validated() -> None:
    public = {getattr(lv.evidence, name) for name in lv.evidence.__all__}
    classes = {one for one in public if isinstance(one, type) and issubclass(one, Estimator)}
    validated = {type(make_estimator(name)) for name in estimator_names()}
    assert validated == classes - {Estimator}
    assert [make_estimator(name).name for name in estimator_names()] == estimator_names()


def test_equal_ladders_run_once_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    original = Ladder.sample

    def counted(self: Ladder, *args: object, seed: int) -> LadderSamples:
        seeds.append(seed)
        return original(self, *args, seed=seed)

    monkeypatch.setattr(Ladder, "sample", counted)
    estimators: list[LadderEstimator] = [
        lv.evidence.SteppingStone(LADDER),
        lv.evidence.ThermodynamicIntegration(LADDER),
    ]
    problem = load_problem("linear_gaussian_1")
    first, second = validate([problem], estimators, seeds=(3, 4), progress=False)
    assert seeds == [3, 4]
    alone = lv.evidence.SteppingStone(LADDER).estimate(problem.model, problem.x, seed=4)
    assert torch.equal(first.results[1].log_evidence, alone.log_evidence)
    assert second.seconds > 0


def test_refusal_is_told_and_the_rest_goes_on() -> None:
    estimators = [lv.evidence.Lookahead(32), lv.evidence.Importance(64)]
    refused, done = validate([load_problem("funnel")], estimators, progress=False)
    assert not refused.results
    assert refused.verdict == "refused"
    assert refused.to_dict()["error"] is None
    assert len(done.results) == 1
    page = to_markdown(lv.problems.Validation((refused, done)))
    assert f"Refused by Lookahead: {refused.refusal}" in page
    assert page.count("| Importance |") == 3, (
        "once among all, once for its errors, once for the problem"
    )


def test_page_marks_the_blind_spot() -> None:
    blind = load_problem("spike_and_plateau")
    page = to_markdown(validate([blind], [lv.evidence.Importance(64)], progress=False))
    assert "**Blind spot:** no draw reaches the spike" in page
    assert "| Importance | -4 |" in page
    assert "| Importance | 1 | 1 | 0 | 0 | spike_and_plateau |" in page


@pytest.mark.parametrize("missing", ["problems", "estimators", "seeds"])
def test_nothing_to_validate(missing: str) -> None:
    given = {"problems": [problem()], "estimators": [lv.evidence.Importance(8)], "seeds": [0]}
    given[missing] = []
    with pytest.raises(ValueError, match="at least one problem, one estimator and one seed"):
        validate(given["problems"], given["estimators"], seeds=given["seeds"], progress=False)


def lvkam(*arguments: str) -> int:
    return main([*arguments, "--threads", str(torch.get_num_threads())])


def test_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("validate", "--problems", "linear_gaussian_1", "--estimators", "Importance")
    assert lvkam(*command) == OK
    assert "## Linear Gaussian, 1-D (`linear_gaussian_1`)" in capsys.readouterr().out
    page = tmp_path / "validation.md"
    assert lvkam(*command, "--num-seeds", "2", "--out", str(page)) == OK
    assert "4 data and 2 seeds" in page.read_text()


WRONG = {
    "an unknown problem": (("--problems", "cube"), "no problem 'cube'"),
    "an unknown estimator": (("--estimators", "Harmonic"), "no estimator 'Harmonic'"),
    "no seed": (("--num-seeds", "0"), "--num-seeds >= 1"),
    "no folder": (("--out", "nowhere/page.md"), "no folder nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_is_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, match = WRONG[case]
    assert lvkam("validate", *arguments) == WRONG_INPUT
    assert match in capsys.readouterr().err
