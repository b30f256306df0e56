"""Every public estimator on families, the page and the command."""

from pathlib import Path

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.cli import OK, WRONG_INPUT, main
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.problems.report import to_markdown
from lvkam_pyro.problems.suite import estimator_names, load_family, make_estimator
from lvkam_pyro.problems.validation import Validation, validate
from tests.problems.trials import FAMILY, REFUSED, trial

LADDER = Ladder(num_temperatures=4, num_chains=4, num_warmup=4, num_samples=4)


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
    family = load_family("linear_gaussian_1")
    trials = validate([family], estimators, seeds=(3, 4), progress=False).trials
    assert seeds == [3, 4]
    assert [(each.seed, each.estimator) for each in trials] == [
        (seed, estimator.name) for seed in (3, 4) for estimator in estimators
    ]
    problem = family.problem(4)
    alone = lv.evidence.SteppingStone(LADDER).estimate(problem.model, problem.x, seed=4)
    assert torch.equal(trials[2].estimate.log_evidence, alone.log_evidence)
    assert torch.equal(trials[2].exact, problem.log_evidence)
    assert trials[3].seconds > 0


def test_processes_give_what_one_gives() -> None:
    families = [load_family("poisson"), load_family("chains")]
    estimators = [lv.evidence.Importance(64), lv.evidence.Lookahead(32)]
    options = {"seeds": (1, 2), "dtype": torch.float32, "progress": False}
    one = validate(families, estimators, **options)
    several = validate(families, estimators, num_jobs=2, **options)
    assert len(one.trials) == len(several.trials) == 8
    for here, there in zip(one, several, strict=True):
        assert (here.family.name, here.seed, here.refusal) == (
            there.family.name,
            there.seed,
            there.refusal,
        )
        if here.result is not None:
            assert torch.equal(here.errors, there.errors)


def test_pool_leaves_blind_spots_out_and_a_family_has_its_own() -> None:
    blind = trial([-5.0, -5.0], blind_spot="far away")
    assert Validation((blind,)).select("A") == ()
    assert Validation((blind,)).select("A", "mine") == (blind,)
    assert Validation((blind,)).silent_errors("A") == []
    assert Validation((blind,)).to_frame()["num_silent"].tolist() == [2]


def test_refusal_is_told_and_the_rest_goes_on() -> None:
    estimators = [lv.evidence.Lookahead(32), lv.evidence.Importance(64)]
    validation = validate([load_family("funnel")], estimators, progress=False)
    refused, done = validation
    assert refused.result is None
    assert done.result is not None
    page = to_markdown(validation)
    assert f"Refused by Lookahead: {refused.refusal}" in page
    assert page.count("| Importance |") == 2, "once among all, once for the family"


def test_page_lists_silent_errors_and_marks_blind_spots() -> None:
    page = to_markdown(Validation((trial([-1.0, -4.0]), REFUSED)))
    assert "(families: 1, seeds: 1)" in page
    assert "| A | mine | 3 | 1 | -4.0000 | 0.1 | -2.0000 | -2 | A |" in page
    assert "Exact: by hand; half: choosing." in page
    blind = to_markdown(Validation((trial([-5.0, -5.0], blind_spot="far away"),)))
    assert "There is no silent error." in blind
    assert "**Blind spot:** far away" in blind


@pytest.mark.parametrize("missing", ["families", "estimators", "seeds"])
def test_nothing_to_validate(missing: str) -> None:
    given = {"families": [FAMILY], "estimators": [lv.evidence.Importance(8)], "seeds": [0]}
    given[missing] = []
    with pytest.raises(ValueError, match="at least one family, one estimator and one seed"):
        validate(given["families"], given["estimators"], seeds=given["seeds"], progress=False)


def lvkam(*arguments: str) -> int:
    return main([*arguments, "--threads", str(torch.get_num_threads())])


def test_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    families = ("validate", "--families", "linear_gaussian_1", "linear_gaussian_10")
    command = (*families, "--half", "choosing", "--estimators", "Importance", "--float32")
    assert lvkam(*command) == OK
    printed = capsys.readouterr().out
    assert "## Linear Gaussian, 1-D (`linear_gaussian_1`)" in printed
    assert "linear_gaussian_10" not in printed
    page = tmp_path / "validation.md"
    assert lvkam(*command, "--num-seeds", "2", "--out", str(page)) == OK
    assert "families: 1, seeds: 2" in page.read_text()


WRONG = {
    "an unknown family": (("--families", "cube"), "no problem 'cube'"),
    "an unknown half": (("--half", "third"), "no half 'third'"),
    "a family of the other half": (
        ("--families", "banana", "--half", "reporting"),
        "None of banana is of the half reporting",
    ),
    "an unknown estimator": (("--estimators", "Harmonic"), "no estimator 'Harmonic'"),
    "no seed": (("--num-seeds", "0"), "--num-seeds >= 1"),
    "no process": (("--jobs", "0"), "--jobs >= 1"),
    "no folder": (("--out", "nowhere/page.md"), "no folder nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_is_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, match = WRONG[case]
    assert lvkam("validate", *arguments) == WRONG_INPUT
    assert match in capsys.readouterr().err
