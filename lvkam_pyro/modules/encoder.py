"""Proposals q(z | x) on the prior's support, for the amortised guide."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from pyro.distributions import Independent, Normal, TransformedDistribution
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

_INITIAL_LOG_SCALE = -0.5
_MAX_LOG_SCALE = 3.0
_MIN_LOG_SCALE = -7.0
# On an interval, y = 8 is 3e-4 of its width from the end, and a standard deviation of e^0.5 is
# that of the uniform distribution. Further out a logistic function rounds to its end, and the
# density of what it rounds is no longer that of the draw.
_MAX_BOUNDED_LOC = 8.0
_MAX_BOUNDED_LOG_SCALE = 0.5


class Encoder(nn.Module):
    r"""A network from data to one proposal per latent, on the support of the prior.

    .. math:: q(z \mid x) = \prod_q T_\# \mathcal{N}\big(\mu_q(x), \sigma_q^2(x)\big)

    where `T` maps the real line to the support: the scaled logistic function for an interval
    (a logit-normal proposal, kept where float32 resolves it), the identity for the real line.

    Arguments:
        x: Data to standardise the inputs by, of shape `(N, ...)`, flattened to `F` columns. If
            NaN is among them, it stands for an entry that is missing, and is read as the mean.
        latent_shape: Shape of one latent on the real line, before `T`.
        support: Constraint of one latent, whose ``biject_to`` is `T`.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: If a hidden width is below 1.

    Example:
        >>> latents = constraints.independent(constraints.unit_interval, 1)
        >>> encoder = Encoder(torch.rand(100, 64), torch.Size([16]), latents)
        >>> encoder(torch.rand(5, 64)).sample((8,)).shape
        torch.Size([8, 5, 16])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        x: Tensor,
        latent_shape: torch.Size,
        support: constraints.Constraint,
        *,
        hidden: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        if min(hidden, default=1) < 1:
            raise ValueError(f"Expected hidden widths of at least 1, got {tuple(hidden)}.")
        self.latent_shape = latent_shape
        self.support = support
        self.bounded = _is_bounded(support)
        features = as_features(x)
        missing = features.isnan()
        self.fills_gaps = bool(missing.any())
        mean = features.nanmean(0) if self.fills_gaps else features.mean(0)
        self.register_buffer("mean", mean)
        # A column that never varies carries nothing: divide it by one, not by zero.
        deviation = torch.where(missing, mean, features).std(0, correction=0)
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))
        self.network = _perceptron(
            [features.shape[1], *hidden, 2 * latent_shape.numel()], like=features
        )

    def forward(self, x: Tensor) -> TransformedDistribution:
        """The proposal for each row of `x`, `(..., F)`: batch shape `(...)`, the latent's event.

        Raises:
            ValueError: If the rows have another number of columns than the encoder was made for.
        """
        if x.shape[-1:] != self.mean.shape:
            raise ValueError(
                f"Expected data of {len(self.mean)} columns, got shape {tuple(x.shape)}. "
                "Build the guide on data of the same kind."
            )
        inputs = (x - self.mean) / self.deviation
        output = self.network(inputs.nan_to_num(0.0) if self.fills_gaps else inputs)
        loc, log_scale = output.unflatten(-1, (2, -1)).unbind(-2)
        largest = _MAX_BOUNDED_LOG_SCALE if self.bounded else _MAX_LOG_SCALE
        log_scale = (log_scale + _INITIAL_LOG_SCALE).clamp(_MIN_LOG_SCALE, largest)
        if self.bounded:
            loc = _MAX_BOUNDED_LOC * torch.tanh(loc / _MAX_BOUNDED_LOC)
        normal = Normal(self._as_latent(loc), self._as_latent(log_scale.exp()))
        base = Independent(normal, len(self.latent_shape))
        return TransformedDistribution(base, [biject_to(self.support)])

    def _as_latent(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, self.latent_shape) if self.latent_shape else values.squeeze(-1)


def as_features(x: Tensor) -> Tensor:
    """Data of shape `(N, ...)` as floating-point rows `(N, F)`.

    Example:
        >>> as_features(torch.tensor([1, 2, 3])).shape
        torch.Size([3, 1])
    """
    rows = x.reshape(len(x), -1)
    return rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())


def _is_bounded(support: constraints.Constraint) -> bool:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return isinstance(support, constraints.interval)


def _perceptron(widths: Sequence[int], *, like: Tensor) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, device=like.device, dtype=like.dtype), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
