"""Results made by hand, for tests of what is done with them."""

import torch
from torch import Tensor

from lvkam_pyro.comparison.rows import EvidenceRow
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.verdict import Verdict


def result(
    model: str,
    estimator: str,
    values: list[float],
    *,
    error: float = 0.1,
    discretization: float | None = None,
    num_replicates: int = 8,
    reliable: bool = True,
    recipe: str = "",
    is_lower_bound: bool = False,
) -> EvidenceRow:
    """A row whose total has the standard error `error`."""
    log_evidence = torch.tensor(values, dtype=torch.float64)
    evidence = Evidence(
        log_evidence=log_evidence,
        standard_error=torch.full_like(log_evidence, error / len(values) ** 0.5),
        total=float(log_evidence.sum()),
        total_standard_error=error,
        diagnostics={},
        verdict=Verdict(reliable, (), "", torch.full((len(values),), not reliable)),
        num_likelihood_evaluations=1,
        estimator=estimator,
        num_replicates=num_replicates,
        data_hash="data",
        discretization_error=_each(log_evidence, discretization),
        is_lower_bound=is_lower_bound,
    )
    return EvidenceRow(model, evidence, recipe)


def _each(values: Tensor, total: float | None) -> Tensor | None:
    return None if total is None else torch.full_like(values, total / len(values))
