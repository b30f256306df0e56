"""Alias tables: the probabilities that they encode, exactly, and the draws that they give."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from lvkam_pyro.distributions.rejection import AliasTable
from tests.assertions import assert_p_value


def encoded_probabilities(table: AliasTable) -> Tensor:
    """What a draw from the table has to follow: the formula of its docstring."""
    kept, given_away = table.threshold.flatten(), (1 - table.threshold).flatten()
    total = kept.index_add(0, table.alias.flatten(), given_away)
    return total.view_as(table.threshold) / table.threshold.shape[-1]


# Whole numbers make ties between prefix sums, where a column is used up exactly.
weights = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1), st.floats(0, 1e6))


@example([1.0, 0.0, 3.0, 0.0, 1.0])
@given(st.lists(weights, min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-3))
def test_table_encodes_the_probabilities(row: list[float]) -> None:
    rows = torch.tensor([row, row[::-1]], dtype=torch.float64)
    table = AliasTable.of(rows)
    assert ((table.threshold >= 0) & (table.threshold <= 1)).all()
    expected = rows / rows.sum(-1, keepdim=True)
    # Prefix sums of 30 columns of mean 1 are exact to 30 roundings.
    assert (encoded_probabilities(table) - expected).abs().max() < 30 * 2.3e-16


def test_draws_follow_the_probabilities() -> None:
    rows = torch.tensor([[1.0, 2.0, 0.0, 5.0, 0.5], [1.0, 1.0, 1.0, 1.0, 4.0]]).double()
    table = AliasTable.of(rows)
    row = torch.arange(2).repeat(100_000)
    slot = table.draw(row)
    assert (slot // 5 == row).all()
    counts = torch.bincount(slot, minlength=10).view(2, 5)
    assert counts[0, 2] == 0
    for observed, law in zip(counts, rows / rows.sum(-1, keepdim=True), strict=True):
        expected = (observed.sum() * law)[law > 0]
        assert_p_value(chisquare(observed[law > 0].numpy(), expected.numpy()).pvalue)


def test_the_largest_uniform_number_in_float32_stays_in_the_table() -> None:
    threshold, alias = AliasTable.of(torch.ones(1, 80).double())
    table = AliasTable(threshold.float(), alias)
    assert table.draw(torch.zeros(3_000_000, dtype=torch.long)).max() == 79
