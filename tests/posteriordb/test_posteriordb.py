"""The evidence of real models with certified answers: by `Auto`, and by `Bridge` from draws."""

from collections.abc import Iterator

import pytest
import torch

import lvkam_pyro as lv
from tests.posteriordb.models import ENTRIES, reference_draws

SLOW = ("low_dim_gauss_mix", "radon_hierarchical_intercept_noncentered")
"""Those that take more than some ten seconds."""

SLOW_ONES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ENTRIES
]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", SLOW_ONES)
def test_auto_finds_the_evidence_and_says_so(name: str) -> None:
    entry = ENTRIES[name]
    evidence = lv.evidence.Auto().estimate(entry.model, entry.data())
    assert evidence.unit == "data set"
    assert evidence.verdict.reliable, evidence.verdict
    error = abs(evidence.total - entry.log_evidence)
    assert error < 4 * evidence.total_standard_error + evidence.total_discretization_error


@pytest.mark.parametrize("name", ENTRIES)
def test_bridge_from_reference_draws(name: str) -> None:
    entry = ENTRIES[name]
    draws = reference_draws(name)
    evidence = lv.evidence.Bridge().estimate(entry.model, entry.data(), draws=draws)
    error = abs(evidence.total - entry.log_evidence)
    assert error < min(0.05, 4 * evidence.total_standard_error + 1e-4)
