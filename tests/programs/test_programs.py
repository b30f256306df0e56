"""Programs in the style of Pyro's tutorials: each estimate is right or flagged, none is refused."""

import warnings

import pyro
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.programs import (
    arguments,
    conjugate,
    discrete,
    hierarchical,
    masked,
    neural,
    regression,
    sequences,
)
from tests.programs.known import DATUM, Known

MODULES = (hierarchical, regression, conjugate, discrete, sequences, masked, arguments, neural)
PROGRAMS = [known for module in MODULES for known in module.PROGRAMS]
ROUNDING = 1e-3
"""Nats: the programs compute in single precision."""

MAX_ERRORS = 4.0
MIN_SIZE = 30.0
"""Draws that count, below which an average over the prior says nothing of its own error."""


def every_program() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "known",
        [
            pytest.param(known, id=known.name, marks=[pytest.mark.slow] if known.slow else [])
            for known in PROGRAMS
        ],
    )


def assert_right_or_flagged(evidence: lv.evidence.Evidence, exact: Tensor) -> None:
    """Every value lies within its errors, or says that it is not to be trusted."""
    assert evidence.log_evidence.shape == exact.shape
    error = MAX_ERRORS * evidence.standard_error + ROUNDING
    if evidence.discretization_error is not None:
        error = error + evidence.discretization_error
    wrong = ~((evidence.log_evidence - exact).abs() <= error) & ~evidence.verdict.unreliable
    assert not bool(wrong.any()), (
        f"{evidence.log_evidence[wrong]} +- {evidence.standard_error[wrong]}, "
        f"not flagged, where {exact[wrong]} is right"
    )


def test_table_is_of_distinct_programs() -> None:
    names = [known.name for known in PROGRAMS]
    assert len(set(names)) == len(names)


@every_program()
def test_default_is_right_and_flags_nothing_without_need(known: Known) -> None:
    evidence = lv.evidence.Auto().estimate(known.model, *known.args, **known.kwargs)
    assert_right_or_flagged(evidence, known.log_evidence)
    assert evidence.unit == known.unit
    assert known.is_hard or evidence.verdict.reliable, str(evidence.verdict)


@every_program()
@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(lv.evidence.Importance(), id="importance"),
        pytest.param(lv.evidence.TemperedSMC(512), id="population"),
        pytest.param(lv.evidence.SteppingStone(), id="ladder", marks=pytest.mark.slow),
    ],
)
def test_estimator_is_right_or_flags(known: Known, estimator: lv.evidence.Estimator) -> None:
    evidence = estimator.estimate(known.model, *known.args, **known.kwargs)
    assert_right_or_flagged(evidence, known.log_evidence)


@every_program()
def test_bound_program_has_the_unit(known: Known) -> None:
    program = lv.bind(known.model, *known.args, **known.kwargs)
    assert (program.unit.value, program.num_units) == (known.unit, len(known.log_evidence))


def log_likelihood(known: Known) -> Tensor:
    """One run of the program by Pyro alone: latents from the prior, log densities of the data."""
    trace = pyro.poutine.trace(known.model).get_trace(*known.args, **known.kwargs)
    trace.compute_log_prob()
    observed = [node for node in trace.nodes.values() if node["type"] == "sample"]
    observed = [node for node in observed if node["is_observed"]]
    if known.unit != DATUM:
        return torch.stack([node["log_prob_sum"] for node in observed]).sum(0, keepdim=True)
    num_data = len(known.log_evidence)
    return torch.stack([by_datum(node["log_prob"], num_data) for node in observed]).sum(0)


def by_datum(log_prob: Tensor, num_data: int) -> Tensor:
    """The sums over all axes but that of the data."""
    return log_prob.movedim(log_prob.shape.index(num_data), 0).reshape(num_data, -1).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    # Pyro alone weighs the rows that it has drawn, and no others.
    [pytest.param(known, id=known.name) for known in PROGRAMS if known.name != "subsampled"],
)
def test_truth_agrees_with_the_prior_s_own_draws(known: Known) -> None:
    """Pyro's plain average over the prior, where it has enough draws that count."""
    num_draws = 4000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log_weights = torch.stack([log_likelihood(known) for _ in range(num_draws)]).double()
    weights = (log_weights - log_weights.max(0).values).exp()
    size = weights.sum(0) ** 2 / (weights**2).sum(0)
    estimate = log_weights.logsumexp(0) - torch.tensor(float(num_draws)).log()
    counts = size > MIN_SIZE
    distance = (estimate - known.log_evidence).abs()[counts]
    assert bool((distance < 6 / size[counts].sqrt()).all()), (estimate, known.log_evidence, size)
