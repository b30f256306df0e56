"""Properties of every check, and the limits of those of weights, chains and evidence."""

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.checks.check import (
    CheckResult,
    Estimate,
    Finding,
    Severity,
    SkippedCheck,
    bonferroni,
    quote_p,
    shorten,
    state_p,
    table_lines,
)
from tests.checks import programs
from tests.checks.programs import linear_gaussian
from tests.checks.results import CHECKS, X, climb, compare

every_check = pytest.mark.parametrize("make", CHECKS.values(), ids=CHECKS)


def numbers_of(check: CheckResult) -> list[Tensor]:
    found = vars(vars(check).get("samples", check)).values()
    parts = [[*value] if isinstance(value, Estimate) else [value] for value in found]
    return [part for row in parts for part in row if isinstance(part, Tensor)]


@every_check
def test_check_is_repeatable_frozen_and_leaves_the_random_state(
    make: Callable[[], CheckResult],
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check = make()
    if not isinstance(check, lv.checks.WeightsCheck):
        assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(3)
    for one, other in zip(numbers_of(check), numbers_of(make()), strict=True):
        assert torch.equal(one, other)
        assert one.device.type == "cpu"
        assert not one.requires_grad
    with pytest.raises(FrozenInstanceError):
        setattr(check, fields(check)[0].name, None)  # type: ignore[arg-type]


@every_check
def test_check_says_what_it_asks_finds_and_cannot_know(make: Callable[[], CheckResult]) -> None:
    check = make()
    assert check.question.endswith(("?", "."))
    assert check.headline
    assert len({len(row) for row in check.table()}) == 1
    assert check.caveats
    assert all(caveat.endswith(".") for caveat in check.caveats)
    for finding in check.findings:
        assert finding.check == check.title
        assert finding.problem.endswith(".")
        assert finding.remedy.endswith(".")
    flat = " ".join(str(check).split())
    parts = [check.title, check.verdict, check.question, *check.caveats, *map(str, check.findings)]
    assert all(" ".join(part.split()) in flat for part in parts)
    assert max(map(len, str(check).splitlines())) <= 102


def test_verdict_is_the_worst_finding() -> None:
    check = SkippedCheck("mine", "No data.")
    assert (check.verdict, check.findings) == ("not made", ())
    good, bad = CHECKS["weights"](), CHECKS["bad weights"]()
    assert (good.verdict, bad.verdict) == ("nothing found", "error")


def test_weights_are_judged_at_their_limits() -> None:
    check = replace(
        CHECKS["weights"](),  # type: ignore[type-var]
        pareto_k=torch.tensor([0.69, 0.71, torch.nan, 0.1]),
        ess=torch.tensor([50.0, 50.0, 50.0, 9.0]),
    )
    assert check.failed.tolist() == [False, True, True, True]
    assert "3 of 4 data" in check.findings[0].problem


def test_weights_of_an_estimate_are_those_of_its_particles() -> None:
    evidence = lv.evidence.Importance(320).estimate(linear_gaussian, X, guide=programs.wide_guide)
    check = lv.checks.check_weights(evidence)
    assert torch.equal(check.ess, evidence.diagnostics["ess"])
    assert check.num_particles == 320


CHAINS: dict[str, tuple[dict[str, object], str]] = {
    "rhat": ({"rhat": torch.full((5, 12), 1.2)}, "R-hat above 1.05 (worst 1.20)"),
    "nan": ({"rhat": torch.full((5, 12), torch.nan)}, "R-hat above 1.05"),
    "ess": ({"ess": torch.full((5, 12), 20.0)}, "fewer than 100 effective draws (least 20)"),
    "swaps": ({"swap_rate": torch.full((4, 12), 0.01)}, "below 10% (least 1.0%)"),
    "bias": ({"biased": True}, "another distribution"),
}
GOOD = {
    "rhat": torch.ones(5, 12),
    "ess": torch.full((5, 12), 200.0),
    "swap_rate": torch.full((4, 12), 0.5),
}


@pytest.mark.parametrize(("changes", "match"), CHAINS.values(), ids=CHAINS)
def test_chains_are_judged_by_each_limit(changes: dict[str, object], match: str) -> None:
    good = replace(climb(), **GOOD)
    assert not lv.checks.check_convergence(good).findings
    (finding,) = lv.checks.check_convergence(replace(good, **changes)).findings  # type: ignore[arg-type]
    assert match in finding.problem


def test_evidence_that_disagrees_is_an_error() -> None:
    rows = list(compare())
    wrong = replace(rows[0].evidence, estimator="Other", total=rows[0].evidence.total + 99)
    both = lv.comparison.EvidenceComparison((rows[0], replace(rows[0], evidence=wrong)))
    (finding,) = lv.checks.EvidenceCheck(both).findings
    assert finding.severity == Severity.ERROR
    assert "disagree by 99" in finding.problem


def test_p_values_as_text_and_together() -> None:
    assert [quote_p(p) for p in (1.0, 0.1234, 0.0123, 1e-6, 9e-7)] == [
        "1.00", "0.12", "0.012", "1e-06", "< 1e-06",
    ]  # fmt: skip
    assert (state_p(0.5), state_p(0.0)) == ("p = 0.50", "p < 1e-06")
    assert bonferroni(0.01, 0.02, 0.5) == pytest.approx(0.03)
    assert bonferroni(0.7, 0.9) == 1.0


def test_severities_are_ordered() -> None:
    assert all(low < high for low, high in pairwise(Severity))
    finding = Finding(Severity.NOTE, "check", "Something.", "Do it.")
    assert str(finding).split() == ["NOTE", "check:", "Something.", "Do", "it."]


def test_tables_are_aligned_and_cut() -> None:
    table = [["name", "p"], ["a", "0.5"], ["bbbbbb", "0.25"]]
    assert table_lines(table) == ["name       p", "a        0.5", "bbbbbb  0.25"]
    assert list(shorten(table, limit=2)) == table
    assert shorten(table, limit=1)[-1] == ["(1 more)", ""]


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: lv.checks.check_weights(torch.zeros(9)), ValueError, "(9,)"),
    (
        lambda: lv.checks.check_weights(lv.evidence.SteppingStone().estimate_from(climb())),
        ValueError,
        "one of SteppingStone without ['largest_weight', 'pareto_k']",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
