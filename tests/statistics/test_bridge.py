"""The bridge between two densities: exact ratios, first-order delete-one values, no overlap."""

import torch
from torch import Tensor

from lvkam_pyro.statistics.bridge import BridgeRatio
from lvkam_pyro.statistics.jackknife import jackknife_error
from tests.assertions import assert_within_standard_errors


def log_ratio(u: Tensor) -> Tensor:
    """Log of exp(2) N(0, 1) over N(1, 1)."""
    return 2.0 - u + 0.5


def normals(size: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Log ratios at draws of N(offset, 1) and of N(1 + offset, 1), of three units."""
    draws = torch.randn(size, 3, dtype=torch.float64)
    others = 1 + torch.randn(10 * size, 3, dtype=torch.float64)
    return log_ratio(draws + offset), log_ratio(others + offset)


def solve(first: Tensor, second: Tensor, num_blocks: int = 20) -> BridgeRatio:
    odds = torch.full((first.shape[1],), len(first) / len(second), dtype=torch.float64).log()
    return BridgeRatio.of([first], [second], odds, num_blocks=num_blocks)


def test_normals_have_their_ratio_and_their_overlap() -> None:
    ratio = solve(*normals(4000))
    error = jackknife_error(ratio.leave_one_out)
    assert_within_standard_errors(ratio.log_ratio, torch.full((3,), 2.0).double(), error)
    assert float(error.max()) < 0.03
    grid = torch.linspace(-9, 10, 4001, dtype=torch.float64)
    pair = torch.stack([-grid.square() / 2, -(grid - 1).square() / 2]).exp() / (2 * torch.pi) ** 0.5
    exact = (2 * pair.prod(0) / pair.sum(0)).sum() * (grid[1] - grid[0])
    torch.testing.assert_close(ratio.overlap, exact.expand(3), rtol=0.03, atol=0.0)


def test_the_solution_is_meng_and_wongs_fixed_point() -> None:
    first, second = normals(200)
    ratio = solve(first, second)
    r, odds = ratio.log_ratio.exp(), 0.1
    numerator = (second.exp() / (odds * second.exp() + r)).mean(0)
    denominator = (1 / (odds * first.exp() + r)).mean(0)
    torch.testing.assert_close(numerator / denominator, r, rtol=1e-8, atol=0.0)


def test_delete_one_values_are_those_of_a_new_solution() -> None:
    first, second = normals(400)
    ratio = solve(first, second)
    again = torch.stack(
        [
            solve(*(torch.cat([x[: k * n], x[(k + 1) * n :]]) for x, n in pairs)).log_ratio
            for k in range(20)
            for pairs in [((first, 20), (second, 200))]
        ]
    )
    exact, found = (jackknife_error(values) for values in (again, ratio.leave_one_out))
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.0)


def test_samples_of_several_second_densities_share_one_ratio() -> None:
    pairs = [normals(2000, offset=offset) for offset in (0.0, 0.0)]
    first, second = zip(*pairs, strict=True)
    odds = torch.full((3,), 0.1, dtype=torch.float64).log()
    together = BridgeRatio.of(first, second, odds, num_blocks=20)
    joined = solve(torch.cat(first), torch.cat(second))
    assert torch.equal(together.log_ratio, joined.log_ratio)
    assert len(together.leave_one_out) == 20


def test_densities_far_apart_have_a_number_and_no_overlap() -> None:
    first = torch.full((50, 1), 2000.0, dtype=torch.float64)
    ratio = solve(first, torch.full((500, 1), -2000.0, dtype=torch.float64))
    assert bool(ratio.log_ratio.isfinite().all())
    assert -2000 <= float(ratio.log_ratio) <= 2000
    assert float(ratio.overlap) < 1e-300


def test_zero_everywhere_is_minus_infinity() -> None:
    first, second = normals(100)
    second[:, 1] = -torch.inf
    first[:, 1] = -torch.inf
    second[::2, 2] = -torch.inf
    ratio = solve(first, second)
    assert ratio.log_ratio[1] == -torch.inf
    assert ratio.log_ratio[[0, 2]].isfinite().all()
    assert not ratio.leave_one_out.isnan().any()
