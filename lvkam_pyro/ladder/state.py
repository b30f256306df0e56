"""The states of a ladder's chains, and their exchange between temperatures."""

import math
from dataclasses import dataclass, fields
from typing import Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class LadderState:
    """The state of the chains: `T` temperatures, `C` chains, `N` data, `D` coordinates.

    Kernels add fields, each `(T, C, N)` or `(T, C, N, ...)`: whole states are chosen and exchanged.

    Attributes:
        position: `(T, C, N, D)`.
        log_likelihood: `(T, C, N)`.

    Example:
        >>> state = LadderState(torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4))
        >>> other = LadderState(torch.ones(2, 3, 4, 5), torch.zeros(2, 3, 4))
        >>> state.where(torch.tensor([[[True]], [[False]]]), other).position[:, 0, 0, 0]
        tensor([1., 0.])
    """

    position: Tensor
    log_likelihood: Tensor

    @property
    def tensors(self) -> list[Tensor]:
        """All fields in their order."""
        return [getattr(self, field.name) for field in fields(self)]

    def where(self, mask: Tensor, other: Self) -> Self:
        """The other state where the mask holds; elsewhere this one, bit for bit.

        Args:
            mask: Broadcasts to `(T, C, N)`.
            other: The state to take.
        """
        pairs = zip(self.tensors, other.tensors, strict=True)
        return type(self)(*(torch.where(_fit(mask, mine), theirs, mine) for mine, theirs in pairs))

    def select(self, index: Tensor) -> Self:
        """The chains of given index `(T, C, N)`, per temperature and datum."""
        return type(self)(
            *(torch.take_along_dim(tensor, _fit(index, tensor), 1) for tensor in self.tensors)
        )

    def swap(self, lower: slice, upper: slice, accepted: Tensor) -> Self:
        """The states of pairs of temperatures exchanged where it is accepted, `(pairs, C, N)`."""
        swapped = []
        for tensor in self.tensors:
            mask, result = _fit(accepted, tensor), tensor.clone()
            result[lower] = torch.where(mask, tensor[upper], tensor[lower])
            result[upper] = torch.where(mask, tensor[lower], tensor[upper])
            swapped.append(result)
        return type(self)(*swapped)


StateT = TypeVar("StateT", bound=LadderState)


def _fit(index: Tensor, tensor: Tensor) -> Tensor:
    """A mask or index `(T, C, N)` with as many axes as a tensor."""
    return index if tensor.ndim == 3 else index[..., None]


@dataclass(frozen=True)
class GradientState(LadderState):
    """A state with its densities and their gradients.

    Attributes:
        log_prior: `(T, C, N)`.
        prior_gradient: `(T, C, N, D)`.
        likelihood_gradient: `(T, C, N, D)`.

    Example:
        >>> zeros, vectors = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, 5)
        >>> state = GradientState(vectors, zeros, zeros + 1, vectors, vectors)
        >>> state.log_target(torch.zeros(2, 1, 1))[0, 0, 0]
        tensor(1.)
    """

    log_prior: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor

    def log_target(self, temperatures: Tensor) -> Tensor:
        """Log p(u) + t log p(x|u), of shape `(T, C, N)`, for temperatures `(T, 1, 1)`."""
        return self.log_prior + tempered(temperatures, self.log_likelihood)

    def gradient(self, temperatures: Tensor) -> Tensor:
        """The gradient of the log target, of shape `(T, C, N, D)`."""
        inverse_temperature = temperatures[..., None].to(self.prior_gradient)
        return self.prior_gradient + inverse_temperature * self.likelihood_gradient


def tempered(power: Tensor, log_likelihood: Tensor) -> Tensor:
    """A log likelihood times a power: 0 at power 0, where minus infinity counts nothing.

    Example:
        >>> tempered(torch.tensor([0.0, 0.5]), torch.tensor([float("-inf"), 2.0]))
        tensor([0., 1.])
    """
    return torch.where(power == 0, 0.0, power * log_likelihood)


def exchange(state: StateT, temperatures: Tensor, *, first: int) -> tuple[StateT, Tensor, Tensor]:
    r"""Offer an exchange to the pairs (first, first + 1), (first + 2, first + 3), ...

    .. math:: \log r = (t_{k+1} - t_k) (l_k - l_{k+1})

    leaves the product of the densities of all temperatures invariant (Geyer 1991). Even and odd
    pairs in turn make the deterministic even-odd scheme of Okabe et al. (2001), in which states
    travel fastest. Each chain and datum decides by itself.

    Args:
        state: Where the chains stand.
        temperatures: `(T,)`.
        first: 0 for the even pairs, 1 for the odd ones.

    Returns:
        The state after the exchange (refused pairs bit for bit as before), which exchanges were
        made, and the probability of each offered one, of shape `(pairs, C, N)` both.

    Example:
        >>> l = torch.tensor([3.0, 1.0]).reshape(2, 1, 1)
        >>> state = LadderState(l[..., None], l)
        >>> exchange(state, torch.tensor([0.0, 1.0]), first=0)[0].position.squeeze()
        tensor([1., 3.])
    """
    lower, upper = neighbours(len(temperatures), first)
    probability = exchange_probability(
        state.log_likelihood[lower],
        state.log_likelihood[upper],
        (temperatures[upper] - temperatures[lower])[:, None, None],
    )
    accepted = torch.rand_like(probability) < probability
    return state.swap(lower, upper, accepted), accepted, probability


def neighbours(num_temperatures: int, first: int) -> tuple[slice, slice]:
    """The lower and the upper temperatures of the pairs from `first` on.

    Example:
        >>> neighbours(4, 1)
        (slice(1, 3, 2), slice(2, 3, 2))
    """
    end = first + (num_temperatures - first) // 2 * 2
    return slice(first, end, 2), slice(first + 1, end, 2)


def exchange_probability(lower: Tensor, upper: Tensor, gap: Tensor) -> Tensor:
    """min(1, r) for the log likelihoods at the lower and upper temperature and their gap.

    Example:
        >>> exchange_probability(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1.0))
        tensor(0.3679)
    """
    return (gap * (lower - upper)).nan_to_num(nan=-math.inf).clamp(max=0).exp()
