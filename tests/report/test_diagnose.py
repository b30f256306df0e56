"""The page of all checks: what is on it, in which order, and that it stands alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.checks.check import SkippedCheck
from tests.checks import programs
from tests.checks.programs import linear_gaussian
from tests.training.toy import toy_data, toy_fit

X = torch.randn(12, programs.NUM_OUTPUTS, generator=torch.Generator().manual_seed(0))
LADDER = lv.ladder.Ladder(num_temperatures=4, num_chains=6, num_warmup=10, num_samples=20)
FEW = {"num_particles": 320, "num_draws": 100, "num_simulations": 20}
ALWAYS = [
    "Prior predictive check",
    "Posterior predictive check",
    "LOO-PIT",
    "Prior and aggregate posterior",
    "Evidence",
]
WEIGHTS, CHAINS = "Importance weights", "Convergence of the ladder"
SBC = "Simulation-based calibration"


def titles(diagnosis: lv.report.Diagnosis) -> list[str]:
    return [check.title for check in diagnosis.checks]


def test_checks_that_others_rest_on_come_first() -> None:
    samples = LADDER.sample(linear_gaussian, X)
    prior = lv.diagnose(linear_gaussian, X, **FEW)
    assert titles(prior) == [WEIGHTS, SBC, *ALWAYS]
    ladder = lv.diagnose(linear_gaussian, X, ladder=samples, **FEW)
    assert titles(ladder) == [CHAINS, SBC, *ALWAYS]
    assert ladder.posterior == "ladder of 4 temperatures"
    guide = programs.exact_guide
    both = lv.diagnose(linear_gaussian, X, guide=guide, ladder=samples, **FEW)
    assert titles(both) == [CHAINS, WEIGHTS, SBC, *ALWAYS]
    assert both[lv.checks.SBC].sampler == "importance-weighted exact_guide"
    names = [row.evidence.estimator for row in both[lv.checks.EvidenceCheck].comparison]
    assert names == ["Importance", "Thermodynamic", "SteppingStone"]
    none = lv.diagnose(linear_gaussian, X, **{**FEW, "num_simulations": 0})
    assert titles(none) == [WEIGHTS, *ALWAYS]


def test_ladder_that_is_to_run_is_calibrated_on_simulated_data() -> None:
    diagnosis = lv.diagnose(linear_gaussian, X, ladder=LADDER, **FEW)
    assert diagnosis[lv.checks.SBC].sampler == "ladder of 4 temperatures"
    assert len(diagnosis[lv.checks.ConvergenceCheck].samples.log_likelihood) == 20


def narrow_guide(x: Tensor) -> None:
    """Half the posterior's deviation: its weights have no variance."""
    with pyro.plate("data", len(x)):
        covariance = 0.25 * programs.POSTERIOR_COVARIANCE
        pyro.sample("z", dist.MultivariateNormal(programs.posterior_mean(x), covariance))


def test_most_urgent_findings_come_first() -> None:
    diagnosis = lv.diagnose(linear_gaussian, 4 * X, guide=narrow_guide, num_draws=400)
    severities = [finding.severity for finding in diagnosis.findings]
    assert severities == sorted(severities, reverse=True)
    assert diagnosis.findings[0].check == WEIGHTS
    assert not diagnosis.is_clean
    text = str(diagnosis)
    assert text.index("trust no other number") < text.index("check  ")
    flat = " ".join(text.split())
    assert all(" ".join(str(finding).split()) in flat for finding in diagnosis.findings)


def test_clean_diagnosis_says_so() -> None:
    x = programs.draw_data(60)
    diagnosis = lv.diagnose(linear_gaussian, x, guide=programs.exact_guide, num_simulations=60)
    assert diagnosis.is_clean
    assert "No check found anything wrong." in str(diagnosis)
    blank = replace(diagnosis, checks=(SkippedCheck("mine", "No data."),))
    assert "No check found anything wrong." in blank._repr_html_()


def test_diagnosis_is_repeatable_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    first = str(lv.diagnose(linear_gaussian, X, seed=5, **FEW))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert str(lv.diagnose(linear_gaussian, X, seed=5, **FEW)) == first
    assert str(lv.diagnose(linear_gaussian, X, seed=6, **FEW)) != first


def test_a_fit_is_diagnosed_with_its_guide() -> None:
    found, x = toy_fit(), toy_data()
    diagnosis = lv.diagnose(found, x, **FEW)
    assert diagnosis.posterior == "importance-weighted Encoder"
    named = lv.diagnose(found.model, x, guide=found.guide, **FEW)
    assert str(named) == str(diagnosis)


SKIPPING: dict[str, tuple[Callable[[Tensor], object], Tensor, set[str]]] = {
    "two latents and a factor": (programs.two_latents, torch.tensor([0.0, 1, 1, 0]), set()),
    "inner plate": (programs.inner_plate, torch.randn(5, 3), set()),
    "two sites": (programs.two_observations, torch.randn(5, 2), {SBC}),
    "only a factor": (
        programs.only_a_factor,
        torch.randn(5),
        {SBC, "Prior predictive check", "Posterior predictive check", "LOO-PIT"},
    ),
    "two data": (
        linear_gaussian,
        X[:2],
        {"Prior predictive check", "Posterior predictive check", ALWAYS[3]},
    ),
}


@pytest.mark.parametrize(("program", "x", "skipped"), SKIPPING.values(), ids=SKIPPING)
def test_check_that_a_model_does_not_allow_is_skipped_with_its_reason(
    program: Callable[[Tensor], object], x: Tensor, skipped: set[str]
) -> None:
    diagnosis = lv.diagnose(program, x, **FEW)
    reasons = {c.title: c.question for c in diagnosis.checks if isinstance(c, SkippedCheck)}
    assert reasons.keys() == skipped
    assert all(len(reason) > 20 for reason in reasons.values())


def test_guide_with_parameters_of_each_datum_is_not_calibrated() -> None:
    guide = AutoNormal(linear_gaussian)
    guide(X)
    diagnosis = lv.diagnose(linear_gaussian, X, guide=guide, **FEW)
    (skipped,) = [check for check in diagnosis.checks if isinstance(check, SkippedCheck)]
    assert skipped.title == SBC


@dataclass
class Page(HTMLParser):
    """The tags of a page, and that every one that opens is closed."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_page_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    diagnosis = lv.diagnose(linear_gaussian, 3 * X, **FEW)
    diagnosis = replace(diagnosis, checks=(*diagnosis.checks, SkippedCheck("mine", "No data.")))
    diagnosis.to_html(path)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert not page.named("script")
    addresses = [
        str(attrs[key]) for _, attrs in page.tags for key in ("src", "href") if key in attrs
    ]
    assert all(address.startswith("data:") for address in addresses)
    assert len(page.named("img")) == len(diagnosis.checks) - 1
    assert all(image["alt"] for image in page.named("img"))
    assert len(page.named("li")) == len(diagnosis.findings) > 0
    assert path.stat().st_size < 2e6


def test_names_from_the_user_are_text_and_not_markup() -> None:
    name = "<script>alert(1)</script>"
    page = lv.report.Diagnosis((SkippedCheck(name, name),), 3, name, 0)._repr_html_()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 4


def test_check_that_is_not_there_is_refused() -> None:
    diagnosis = lv.diagnose(linear_gaussian, X, **FEW)
    with pytest.raises(KeyError, match="no ConvergenceCheck in this diagnosis"):
        _ = diagnosis[lv.checks.ConvergenceCheck]


def other_evidence() -> lv.comparison.EvidenceComparison:
    estimators = [lv.evidence.Importance(64)]
    return lv.compare_evidence(linear_gaussian, X + 1, estimators, progress=False)


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: lv.diagnose(linear_gaussian, [1.0]), TypeError, "torch.Tensor"),  # type: ignore[arg-type]
    (lambda: lv.diagnose(linear_gaussian, X, num_particles=0), ValueError, "num_particles >= 1"),
    (lambda: lv.diagnose(linear_gaussian, X, num_simulations=-1), ValueError, ">= 10"),
    (lambda: lv.diagnose(linear_gaussian, X, num_simulations=5), ValueError, ">= 10"),
    (
        lambda: lv.diagnose(linear_gaussian, X, evidence=other_evidence()),
        ValueError,
        "these data of shape (12, 4), but Importance was computed for others",
    ),
    (
        lambda: lv.diagnose(linear_gaussian, X + 1, ladder=LADDER.sample(linear_gaussian, X)),
        ValueError,
        "posterior was computed for others",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
