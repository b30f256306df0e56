"""Parallel networks: each is the KAN of its own coefficients."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.parallel import ParallelKAN

BASIS = BSplineBasis(grid_size=5, domain=(-1.0, 2.0))


@pytest.mark.parametrize("activation", [None, F.silu])
@pytest.mark.parametrize("hidden", [(1,), (4,), (3, 5)])
def test_each_network_is_the_kan_of_its_own_coefficients(
    hidden: tuple[int, ...], activation: Callable[[torch.Tensor], torch.Tensor] | None
) -> None:
    parallel = ParallelKAN(3, hidden=hidden, basis=BASIS, base_activation=activation).double()
    z = torch.rand(7, 2, 3, dtype=torch.float64) * 3 - 1
    values = parallel(z)
    for number in range(3):
        single = KAN([1, *hidden, 1], basis=BASIS, base_activation=activation).double()
        for own, shared in zip(single.layers, parallel.layers, strict=True):
            rows = shared.coefficients.unflatten(0, (3, -1))[number]
            own.coefficients.data.copy_(rows)
        torch.testing.assert_close(single(z[..., [number]]).squeeze(-1), values[..., number])


def test_networks_start_alike_whatever_their_number() -> None:
    """The spread of the values over networks: 1000 of them give it to 5 % (two errors)."""
    spreads = []
    for count in (1000, 4):
        values = torch.stack(
            [
                ParallelKAN(count, hidden=(5,), basis=BASIS)(torch.full((count,), 0.5)).detach()
                for _ in range(1000 // count)
            ]
        )
        spreads.append(values.std())
    assert float(spreads[0] / spreads[1]) == pytest.approx(1, abs=0.25)


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: ParallelKAN(0, hidden=(2,)), "got 0 networks"),
    (lambda: ParallelKAN(2, hidden=()), "hidden=()"),
    (lambda: ParallelKAN(2, hidden=(3, 0)), r"hidden=\(3, 0\)"),
    (lambda: ParallelKAN(2, hidden=(3,))(torch.rand(5, 3)), r"\(\.\.\., 2\).*got \(5, 3\)"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
