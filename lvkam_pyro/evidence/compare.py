"""Several models, several estimators, the same data: the run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor
from tqdm.auto import tqdm

from lvkam_pyro.evidence.comparison import EvidenceComparison
from lvkam_pyro.evidence.comparison_row import EvidenceRow
from lvkam_pyro.evidence.estimator import EvidenceEstimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.guides.particles import Guide
from lvkam_pyro.guides.power_posterior import PowerPosterior, PowerSamples
from lvkam_pyro.guides.structure import Model
from lvkam_pyro.guides.validation import check_data


def compare_evidence(
    models: Model | Mapping[str, Model],
    x: Tensor,
    estimators: Sequence[EvidenceEstimator],
    *,
    guide: Guide | Mapping[str, Guide] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> EvidenceComparison:
    """Estimate the evidence of each model by each estimator, on the same data.

    Estimators with equal ladders share one run of it. Estimators of equal name are numbered.

    Args:
        models: One Pyro model, or name to model.
        x: The observations, of shape `(N, ...)`.
        estimators: At least one.
        guide: The proposal of the estimators that use one: one guide, or the model's name to its
            guide; None is each model's prior.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        progress: Whether to show progress bars.

    Returns:
        The comparison.

    Raises:
        TypeError: If `x` is no tensor.
        ValueError: If there is no model or no estimator, or `x` is empty or not finite.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from lvkam_pyro.evidence.importance import ImportanceEvidence
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> estimators = [ImportanceEvidence(512)]
        >>> comparison = compare_evidence(model, torch.zeros(3), estimators, progress=False)
        >>> comparison["model", "Importance"].num_data
        3
    """
    check_data(x)
    named = models if isinstance(models, Mapping) else {"model": models}
    if not named or not estimators:
        raise ValueError(
            f"Expected at least one model and one estimator, but got {len(named)} and "
            f"{len(estimators)}. Pass e.g. compare_evidence(model, x, [ImportanceEvidence()])."
        )
    bar = tqdm(total=len(named) * len(estimators), desc="evidence", disable=not progress)
    rows = []
    with bar:
        for name, model in named.items():
            proposal = guide.get(name) if isinstance(guide, Mapping) else guide
            runs: list[tuple[PowerPosterior, PowerSamples]] = []
            for estimator in estimators:
                bar.set_postfix_str(f"{name}, {estimator.name}")
                rows.append(EvidenceRow(name, _estimate(estimator, model, x, proposal, seed, runs)))
                bar.update()
    return EvidenceComparison(tuple(_numbered(rows)))


def _numbered(rows: Iterable[EvidenceRow]) -> Iterator[EvidenceRow]:
    """The rows, where the second of one name in a model gets the number 2, and so on."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name = row.evidence.estimator
        counts[row.model, name] += 1
        count = counts[row.model, name]
        label = name if count == 1 else f"{name} {count}"
        yield EvidenceRow(row.model, replace(row.evidence, estimator=label))


def _estimate(
    estimator: EvidenceEstimator,
    model: Model,
    x: Tensor,
    guide: Guide | None,
    seed: int,
    runs: list[tuple[PowerPosterior, PowerSamples]],
) -> Evidence:
    """One result, from a ladder already run where there is one."""
    if not isinstance(estimator, LadderEstimator):
        return estimator.estimate(model, x, guide, seed=seed)
    for ladder, samples in runs:
        if ladder == estimator.ladder:
            return estimator.estimate_from(samples)
    samples = estimator.ladder.sample(model, x, seed=seed)
    runs.append((estimator.ladder, samples))
    return estimator.estimate_from(samples)
