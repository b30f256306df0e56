"""The multistate ratio: against a slow exact solver, refits without a chain, and closed forms."""

import pytest
import torch
from scipy.optimize import fsolve
from scipy.special import logsumexp
from torch import Tensor

from lvkam_pyro.evidence.multistate import MultistateBAR
from lvkam_pyro.evidence.reweighting import Reweighting
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.statistics.jackknife import jackknife_error
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

LADDER = Ladder(num_temperatures=10, num_chains=16, num_warmup=60, num_samples=60)


def synthetic(num_draws: int = 40, num_chains: int = 8, num_data: int = 3) -> tuple[Tensor, Tensor]:
    """Independent log likelihoods -z^2 of z ~ N(0, 1 / (1 + 2 t)): log Z_t = -log(1 + 2 t) / 2."""
    temperatures = torch.linspace(0, 1, 6, dtype=torch.float64)
    noise = torch.randn(num_draws, num_chains, 6, num_data, dtype=torch.float64)
    return temperatures, -noise.square() / (1 + 2 * temperatures)[:, None]


def solve_slowly(temperatures: Tensor, draws: Tensor) -> Tensor:
    """The self-consistent equations of one datum by scipy, unknowns log Z above 0."""
    t, values = temperatures.numpy(), draws.flatten().numpy()

    def residual(unknown):  # noqa: ANN001, ANN202
        log_z = [0.0, *unknown]
        mixture = logsumexp(t * values[:, None] - log_z, axis=1) - torch.tensor(len(t)).log().item()
        implied = logsumexp(t * values[:, None] - mixture[:, None], axis=0)
        return (implied - implied[0])[1:] - unknown

    return torch.tensor(fsolve(residual, 0 * t[1:], xtol=1e-13))


def test_the_solution_is_that_of_the_self_consistent_equations() -> None:
    temperatures, draws = synthetic()
    solved = Reweighting.of(temperatures, draws, torch.full((6, 3), -9.0).double())
    for datum in range(3):
        expected = solve_slowly(temperatures, draws[..., datum])
        torch.testing.assert_close(solved.log_normalizer[1:, datum], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("start", [-500.0, 0.0, 500.0])
def test_any_start_leads_to_the_solution(start: float) -> None:
    temperatures, draws = synthetic()
    near, far = (
        Reweighting.of(
            temperatures, draws, torch.full((6, 3), guess).double() * temperatures[:, None]
        )
        for guess in (-0.5, start)
    )
    torch.testing.assert_close(near.log_normalizer, far.log_normalizer, rtol=0, atol=1e-9)


def test_leaving_out_a_chain_is_a_refit_without_it() -> None:
    temperatures, draws = synthetic()
    solved = Reweighting.of(temperatures, draws, torch.zeros(6, 3).double())
    others, _ = solved.leave_one_out()
    for chain in range(8):
        kept = draws[:, [c for c in range(8) if c != chain]]
        exact = Reweighting.of(temperatures, kept, torch.zeros(6, 3).double()).log_normalizer[-1]
        change = (exact - solved.log_normalizer[-1]).abs()
        # One Newton step: its error is of the second order in the change.
        assert ((others[chain] - exact).abs() <= change.square() + 1e-3 * change + 1e-6).all()


def test_blocks_of_data_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    temperatures, draws = synthetic()
    start = torch.zeros(6, 3).double()
    whole = Reweighting.of(temperatures, draws, start)
    monkeypatch.setattr("lvkam_pyro.evidence.reweighting._MAX_ELEMENTS", 1)
    split = Reweighting.of(temperatures, draws, start)
    torch.testing.assert_close(whole.log_normalizer, split.log_normalizer, rtol=0, atol=1e-12)
    for one, other in zip(whole.leave_one_out(), split.leave_one_out(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_errors_are_calibrated_on_independent_draws() -> None:
    exact = -torch.tensor(3.0).double().log() / 2
    temperatures, draws = synthetic(num_chains=32, num_data=200)
    solved = Reweighting.of(temperatures, draws, torch.zeros(6, 200).double())
    error = jackknife_error(solved.leave_one_out()[0])
    scores = (solved.log_normalizer[-1] - exact) / error
    assert 0.85 < float(scores.std()) < 1.2
    assert_within_standard_errors(
        scores.mean(), torch.tensor(0.0).double(), scores.std() / 200**0.5
    )


def test_it_beats_steppingstone_on_the_same_draws() -> None:
    model = models.LinearGaussian(2, 4)
    samples = LADDER.sample(model, model.sample(20))
    errors = [
        kind(LADDER).estimate_from(samples).standard_error.mean()
        for kind in (MultistateBAR, SteppingStone)
    ]
    assert errors[0] < errors[1]


def test_an_impossible_datum_has_no_evidence_and_no_nan() -> None:
    temperatures, draws = synthetic()
    draws[..., 1] = -torch.inf
    solved = Reweighting.of(temperatures, draws, torch.zeros(6, 3).double())
    assert solved.log_normalizer[0].eq(0).all()
    assert (solved.log_normalizer[1:, 1] == -torch.inf).all()
    assert solved.log_normalizer[:, [0, 2]].isfinite().all()
    others, overlap = solved.leave_one_out()
    assert (others[:, 1] == -torch.inf).all()
    assert overlap[1] == 0


def test_distant_temperatures_are_flagged() -> None:
    model = models.LinearGaussian(2, 4, scale=0.001)
    ladder = Ladder(num_temperatures=2, num_chains=8, num_warmup=20, num_samples=8)
    evidence = MultistateBAR(ladder).estimate(model, model.sample(2))
    assert evidence.verdict.unreliable.all()
    assert "overlap" in evidence.verdict.reasons[0]


def test_forward_and_reverse_steppingstones_agree() -> None:
    model = models.LinearGaussian(2, 4)
    samples = LADDER.sample(model, model.sample(10))
    forward = SteppingStone(LADDER).estimate_from(samples)
    reverse = SteppingStone(LADDER, reverse=True).estimate_from(samples)
    assert forward.estimator != reverse.estimator
    for evidence in (forward, reverse):
        assert torch.equal(evidence.diagnostics["forward"], forward.log_evidence)
        assert torch.equal(evidence.diagnostics["reverse"], reverse.log_evidence)
    error = torch.hypot(forward.standard_error, reverse.standard_error)
    assert_within_standard_errors(forward.log_evidence, reverse.log_evidence, error)
