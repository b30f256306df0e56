"""Every check of a model and its posterior, by one call."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.marginal import check_same_data
from lvkam_pyro.checks.calibration import SBC, sbc
from lvkam_pyro.checks.check import CheckResult, SkippedCheck
from lvkam_pyro.checks.convergence_check import EvidenceCheck, check_convergence
from lvkam_pyro.checks.leave_one_out import LOOPIT, loo_pit
from lvkam_pyro.checks.mismatch import PriorPosteriorMismatch, prior_posterior_mismatch
from lvkam_pyro.checks.predictive import (
    PosteriorPredictiveCheck,
    PriorPredictiveCheck,
    posterior_predictive_check,
    prior_predictive_check,
)
from lvkam_pyro.checks.samplers import ImportanceSampler, Posterior, draw_posterior
from lvkam_pyro.checks.weights_check import check_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.rows import EvidenceRow
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.options import check_count
from lvkam_pyro.report.diagnosis import Diagnosis
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import Unit
from lvkam_pyro.training.loop import Fit


def diagnose(
    model: Program | Fit,
    *args: Any,
    guide: Program | None = None,
    ladder: Ladder | LadderSamples | None = None,
    evidence: EvidenceComparison | None = None,
    num_particles: int = 4096,
    num_draws: int = 2000,
    num_simulations: int = 200,
    seed: int = 0,
    **kwargs: Any,
) -> Diagnosis:
    """Everything that can be checked about a model and its posterior, on one page.

    - `check_convergence` of the ladder's chains, if there is a ladder;
    - `check_weights` of the guide's particles, or of the prior's where there is neither;
    - `sbc` of what draws the posterior;
    - `prior_predictive_check`, `posterior_predictive_check` and `loo_pit` of the model;
    - `prior_posterior_mismatch` of its latents;
    - `EvidenceCheck` of the estimates of the evidence.

    The posterior of the data is the ladder's, where there is one, else the guide's weighted
    particles. Simulation-based calibration is of the guide's weighted particles, where there is a
    guide: a ladder is run anew for simulated data. A check that the model does not allow is
    skipped, and says why.

    Pass held-out data: those that the model was trained on look better than they are. A few hundred
    data find much that twenty do not.

    Args:
        model: A Pyro program such as `LVKAM`, or a bound program, which stands for its arguments
            too; or the result of `fit`, whose guide is used unless another is given.
        *args: The program's arguments, with at least 3 data.
        guide: The proposal of the particles; None: the model's prior, unless there is a ladder.
        ladder: A ladder to run, or `Ladder(...).sample(model, x)` of the same data.
        evidence: A comparison of the estimates of this model on these data; None: importance
            sampling with the guide, and thermodynamic integration and steppingstone on the ladder.
        num_particles: Particles for each datum.
        num_draws: Posterior draws of each datum.
        num_simulations: Data that `sbc` simulates; 0: no such check.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Returns:
        The diagnosis: print it, show it in a notebook, or `.to_html(path)`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a count is too small, the data are not finite, or ladder or evidence are of
            other data.

    References:
        Gelman, A. et al. (2020). Bayesian workflow. https://arxiv.org/abs/2011.01808

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> diagnosis = diagnose(problem.model, problem.x, num_simulations=50)
        >>> [check.title for check in diagnosis.checks][:2]
        ['Importance weights', 'Simulation-based calibration']
    """
    check_count("num_particles", num_particles)
    check_count("num_draws", num_draws, minimum=10)
    if num_simulations:
        check_count("num_simulations", num_simulations, minimum=10)
    if isinstance(model, Fit):
        guide = model.guide if guide is None else guide
        model = model.model
    program = bind(model, *args, **kwargs)
    if evidence is not None:
        check_same_data(program, {row.method: row.evidence.data_hash for row in evidence})
    samples = ladder.sample(program, seed=seed) if isinstance(ladder, Ladder) else ladder
    weighted = ImportanceSampler(guide, num_particles)
    posterior: Posterior = weighted if samples is None else samples
    draws = draw_posterior(program, posterior=posterior, num_draws=num_draws, seed=seed)
    estimates: list[Evidence] = []
    checks: list[CheckResult] = []
    if samples is not None:
        ladder_estimators = (ThermodynamicIntegration(), SteppingStone())
        found = (estimator.estimate_from(samples) for estimator in ladder_estimators)
        estimates += [replace(one, unit=program.unit.value) for one in found]
        checks.append(check_convergence(samples))
    if samples is None or guide is not None:
        importance = Importance(num_particles).estimate(program, guide=guide, seed=seed)
        estimates.insert(0, importance)
        checks.append(check_weights(importance, source=weighted.name))
    if num_simulations:
        calibrated = ladder if guide is None and ladder is not None else weighted
        counts = {"num_simulations": num_simulations, "seed": seed}
        check = partial(sbc, program, posterior=calibrated, **counts)
        checks.append(_attempt(SBC.title, check))
    checks += _judge_model(program, draws, seed)
    if evidence is None:
        evidence = EvidenceComparison(tuple(EvidenceRow("model", one) for one in estimates))
    checks.append(EvidenceCheck(evidence))
    return Diagnosis(tuple(checks), _num_data(program), draws.source, seed)


def _num_data(program: BoundProgram) -> int:
    by_datum = program.unit is Unit.DATUM
    return program.num_units if by_datum else program.arguments.num_rows or 1


def _judge_model(program: BoundProgram, draws: PosteriorDraws, seed: int) -> list[CheckResult]:
    """The checks of the model by posterior draws."""
    options: dict[str, Any] = {"posterior": draws, "seed": seed}
    checks: dict[str, Callable[[], CheckResult]] = {
        PriorPredictiveCheck.title: lambda: prior_predictive_check(program, seed=seed),
        PosteriorPredictiveCheck.title: lambda: posterior_predictive_check(program, **options),
        LOOPIT.title: lambda: loo_pit(program, **options),
        PriorPosteriorMismatch.title: lambda: prior_posterior_mismatch(program, **options),
    }
    return [_attempt(title, check) for title, check in checks.items()]


def _attempt(title: str, check: Callable[[], CheckResult]) -> CheckResult:
    """The check, or why it could not be made."""
    try:
        return check()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        # A guide with parameters of each datum cannot run on others, and says so in torch's words.
        return SkippedCheck(title, " ".join(str(error).split()))
