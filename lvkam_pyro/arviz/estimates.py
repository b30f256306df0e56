"""Estimates of the log evidence as the marginal log likelihood of ArviZ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.arguments import hash_data


def estimates_of(evidence: Evidence | EvidenceComparison | None) -> list[Evidence]:
    """All estimates, which must be of one model.

    Raises:
        ValueError: If they are of several models.

    Example:
        >>> estimates_of(None)
        []
    """
    if evidence is None:
        return []
    if isinstance(evidence, Evidence):
        return [evidence]
    models = sorted({row.model for row in evidence})
    if len(models) > 1:
        raise ValueError(
            f"Expected evidence of one model, got a comparison of {models}. Compare the estimators "
            "of this model alone, or pass one Evidence."
        )
    # Two recipes may have estimators of one name, which tell them apart in the data.
    return [replace(row.evidence, estimator=row.method) for row in evidence]


def best_estimate(estimates: Sequence[Evidence]) -> Evidence:
    """The estimate to go by: no bound, few data unreliable, and of these that of least error.

    Args:
        estimates: At least one, of one model.
    """
    return min(estimates, key=_doubt)


def _doubt(evidence: Evidence) -> tuple[bool, int, float]:
    error = evidence.total_standard_error + evidence.total_discretization_error
    num_unreliable = int(evidence.verdict.unreliable.sum())
    return evidence.is_lower_bound, num_unreliable, error


def check_same_data(x: Tensor, ladder: LadderSamples | None, estimates: Sequence[Evidence]) -> None:
    """The ladder and the estimates are of these data.

    Raises:
        ValueError: If one is not.
    """
    hashes: Mapping[str, str] = {one.estimator: one.data_hash for one in estimates}
    if ladder is not None:
        hashes = {**hashes, "ladder": ladder.data_hash}
    other = [name for name, data_hash in hashes.items() if data_hash != hash_data(x)]
    if other:
        raise ValueError(
            f"Expected the ladder and the evidence of these data of shape {tuple(x.shape)}, but "
            f"{', '.join(other)} was computed for others. Pass the same x to all."
        )
