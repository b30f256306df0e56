"""The draws of several processes are those of one, cut into shares."""

from collections.abc import Callable
from itertools import count

import pytest
import torch
import torch.distributions as dist
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.training.processes.shared_draws import Share, SharedDraws, find_draws

Program = Callable[[Tensor], Tensor]

# Each draws for data x (N, 4) something with an axis of N, 0 or 1.
PROGRAMS: dict[str, Program] = {
    "rand": lambda x: torch.rand(3, len(x)),
    "randn_like": torch.randn_like,
    "randint": lambda x: torch.randint(0, 9, (3, len(x), 2)),
    "in place": lambda x: torch.empty(len(x), 2).uniform_(),
    "normal": lambda x: torch.normal(x, 1 + x),
    "rsample": lambda x: dist.Normal(x, 1 + x).rsample((3,)),
    "bernoulli": lambda x: dist.Bernoulli(x / 4).sample(),
    "categorical": lambda x: dist.Categorical(x).sample(),
    "several of a categorical": lambda x: torch.multinomial(x, 2),
    "exponential": lambda x: dist.Exponential(x).rsample((3,)),
    "cauchy": lambda x: dist.Cauchy(x, x).rsample(),
    "dropout": lambda x: F.dropout(x, 0.3),
    "gumbel": F.gumbel_softmax,
    "several kernels": lambda x: torch.rand(len(x), 1) + torch.randn_like(x) * torch.rand(1),
    "gamma": torch._standard_gamma,
    "poisson": torch.poisson,
    "binomial": lambda x: torch.binomial(x, torch.full_like(x, 0.4)),
    "dirichlet": torch._sample_dirichlet,
}

# Several data have one value: what decides is where a datum is, not what it is.
X = torch.linspace(0.5, 3.0, 9).floor().add(1.0).repeat_interleave(4).view(9, 4)


def draw_share(program: Program, x: Tensor, share: Share) -> Tensor:
    """What one process keeps; the others' parameters are at hand as if they had been sent."""

    def gather(part: Tensor, axis: int, share: Share) -> Tensor:
        return x if torch.equal(part, x[share.rows]) else part[:1].expand_as(x)

    draws = find_draws(lambda num_data: program(x[torch.arange(num_data) % len(x)]))
    torch.manual_seed(1)
    with SharedDraws(draws, share, gather):
        return program(x[share.rows])


@pytest.mark.parametrize("name", PROGRAMS)
@given(num_data=st.integers(1, 9), num_processes=st.integers(1, 4))
def test_shares_are_parts_of_the_whole(name: str, num_data: int, num_processes: int) -> None:
    program, x = PROGRAMS[name], X[:num_data]
    torch.manual_seed(1)
    whole, state = program(x), torch.get_rng_state()
    axis = 1 if name in {"rand", "randint", "rsample", "exponential"} else 0
    for rank in range(num_processes):
        share = Share.of(num_data, rank, num_processes)
        part = draw_share(program, x, share)
        assert torch.equal(part, whole.narrow(axis, share.first, share.num_rows))
        assert torch.equal(torch.get_rng_state(), state)


@given(num_data=st.integers(1, 40), num_processes=st.integers(1, 9))
def test_shares_cover_a_batch_once(num_data: int, num_processes: int) -> None:
    shares = [Share.of(num_data, rank, num_processes) for rank in range(num_processes)]
    rows = [row for share in shares if share.weight for row in range(num_data)[share.rows]]
    assert rows == list(range(num_data))
    assert sum(share.weight for share in shares) == pytest.approx(1.0)
    assert all(0 <= share.first < share.first + share.num_rows <= num_data for share in shares)
    sizes = [share.num_rows for share in shares if share.weight]
    assert max(sizes) - min(sizes) <= 1


def test_gradients_are_those_of_the_whole() -> None:
    def program(x: Tensor) -> Tensor:
        return dist.Gamma(x, x).rsample() * torch.randn_like(x)

    whole, part = X.clone().requires_grad_(), X.clone().requires_grad_()
    torch.manual_seed(1)
    program(whole)[3:6].sum().backward()
    draw_share(program, part, Share.of(9, 1, 3)).sum().backward()
    assert torch.equal(whole.grad, part.grad)


def test_data_are_told_from_other_axes_of_their_length() -> None:
    draws = find_draws(lambda n: (torch.rand(3, n), torch.rand(n, 3), torch.rand(3, 3)))
    assert [draw.axis for draw in draws] == [-1, -2, None]


def test_what_is_drawn_in_the_first_run_alone_does_not_count() -> None:
    runs = count()
    draws = find_draws(lambda n: [torch.randn(7) if next(runs) == 0 else None, torch.rand(n)])
    assert [draw.kernel for draw in draws] == ["aten.rand.default"]


NOT_SHAREABLE = {
    "rejection": (
        lambda x: dist.VonMises(x, x).sample(), "draws more or fewer of them for another number"
    ),
    "flattened": (lambda x: torch.rand(4 * len(x)), r"draws \(8,\) numbers for two data and \(12,"),
    "twice": (lambda x: torch.rand(len(x), len(x)), r"draws \(2, 2\) numbers for two data"),
    "permutation": (lambda x: torch.randperm(len(x)), r"randperm\S* draws \(3,\) numbers for a"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_SHAREABLE)
def test_what_cannot_be_shared_is_refused(case: str) -> None:
    program, match = NOT_SHAREABLE[case]
    with pytest.raises(ValueError, match=match):
        draw_share(program, X, Share.of(9, 1, 3))


def test_program_that_changes_is_refused() -> None:
    draws = find_draws(lambda n: torch.rand(n))
    share = Share.of(4, 0, 2)
    for program in (lambda: torch.randn(2), lambda: [torch.rand(2), torch.rand(2)]):
        with (
            pytest.raises(ValueError, match="is not what it drew before"),
            SharedDraws(draws, share, lambda part, axis, share: part),
        ):
            program()
