"""The prior's part of a maximisation step: Newton's method on its coefficients."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Size, Tensor, nn

from lvkam_pyro.distributions.maximum_likelihood import (
    LinearFamily,
    Maximum,
    maximize_likelihood,
)
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.regularization import second_differences
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior

_BLOCK = 2**14
"""Draws whose features are held at once."""

_NO_MASS = 1e-8
"""Number of data below which a component has none."""


@dataclass(frozen=True)
class MStep:
    r"""What a maximisation step of a prior has done.

    Attributes:
        objective: Mean of :math:`\log p(z)` over the data, less the penalty, in nats per datum:
            at the start and after every round, of shape `(num_rounds + 1,)`, float64. It rises.
        missing: Estimate of what the coefficients lack to the maximum of the last round, in nats
            per datum.
        num_steps: Newton steps taken in each round.

    Example:
        >>> import lvkam_pyro as lv
        >>> prior = lv.MixturePrior(2, num_components=2)
        >>> step = NewtonMStep(num_rounds=3, smoothness=0.5)(prior, torch.rand(1, 100, 2))
        >>> step.objective.shape, len(step.num_steps)
        (torch.Size([4]), 3)
    """

    objective: Tensor
    missing: float
    num_steps: list[int]


@dataclass(frozen=True)
class NewtonMStep:
    r"""The maximum-likelihood prior of given posterior draws, by Newton's method.

    .. math:: \max_{c, \alpha} \; \sum_n \sum_s \bar w_{sn} \log p(z_{sn}; c, \alpha)
              - \lambda \, \text{roughness}(f)

    Empirical Bayes alternates draws from the posterior and this step (Monte Carlo EM; Wei and
    Tanner 1990, https://doi.org/10.1080/01621459.1990.10474930). The functions of a prior are
    linear in their coefficients, :math:`f_{qp} = \sum_k c_{qpk} \phi_k`, so the step is concave
    for each of them, with gradient :math:`\sum_n E_{post}[\phi(z_n)] - N E_{prior}[\phi]` and
    Hessian :math:`-N \operatorname{Cov}_{prior}[\phi]` by quadrature: one `K x K` solve for each
    function, in float64, damped so that the objective never falls. Constants, which no density
    sees, keep their value. The components of a mixture share the draws by their responsibilities,
    one EM round after another (Dempster, Laird and Rubin 1977,
    https://doi.org/10.1111/j.2517-6161.1977.tb01600.x), and learned weights are their shares.

    Parameters are changed in place; an optimiser that trains them, too, keeps its state. Neither
    the bandwidth of a basis nor the parameters of a reference measure are changed.

    Arguments:
        num_rounds: EM rounds. One is the exact maximum unless the prior is a mixture.
        smoothness: The factor :math:`\lambda` of :func:`~lvkam_pyro.kan.regularization.roughness`,
            the squared second differences of coefficients, in nats.
        max_steps: Largest number of Newton steps in a round.
        tolerance: A round ends where less than this is missing, in nats per datum.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import lvkam_pyro as lv
        >>> prior = lv.MixturePrior(num_latents=2)
        >>> z = torch.distributions.Beta(2.0, 5.0).sample((1, 500, 2))  # one draw for each datum
        >>> step = NewtonMStep(smoothness=0.1)(prior, z)
        >>> bool(step.objective[1] > step.objective[0])
        True
        >>> bool((prior.densities().mean - z.mean((0, 1))).abs().max() < 0.02)
        True
    """

    num_rounds: int = 1
    smoothness: float = 0.0
    max_steps: int = 50
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        if self.num_rounds < 1 or self.max_steps < 1:
            raise ValueError(
                "Expected at least one round and one step, got "
                f"num_rounds={self.num_rounds} and max_steps={self.max_steps}."
            )
        if not (self.smoothness >= 0 and self.tolerance > 0):
            raise ValueError(
                "Expected a smoothness of at least 0 and a tolerance above 0, got "
                f"smoothness={self.smoothness} and tolerance={self.tolerance}."
            )

    def __call__(self, prior: EnergyPrior, z: Tensor, weights: Tensor | None = None) -> MStep:
        """Sets the prior's coefficients, and its weights if they are learned.

        Args:
            prior: A `MixturePrior` or `ProductPrior`, changed in place.
            z: Posterior draws, of shape `(S, N, Q)`, or `(S, N, Q, P)` for a `ProductPrior`;
                `N` may be 1 for draws that all data share.
            weights: Their importance weights, of shape `(S, N)`, which sum to 1 over `S`; equal
                by default.

        Returns:
            The objective and how it was reached.

        Raises:
            TypeError: If the prior's functions are networks, hence not linear in coefficients.
            ValueError: If shapes do not fit the prior, a weight is negative or none is positive,
                or a draw or weight is not finite.
        """
        layer = _layer_of(prior)
        with torch.no_grad():
            problem = _Problem(prior, layer, _Draws(prior, z, weights), self.smoothness)
            objective, rounds = [problem.collect()], []
            for _ in range(self.num_rounds):
                rounds.append(self._maximize(problem))
                objective.append(problem.collect())
        missing = (rounds[-1].missing * problem.mass).sum() / problem.draws.num_data
        return MStep(torch.stack(objective), float(missing), [r.num_steps for r in rounds])

    def _maximize(self, problem: "_Problem") -> Maximum:
        mass = problem.mass.clamp(min=_NO_MASS)
        maximum = maximize_likelihood(
            problem.family,
            problem.features / mass.unsqueeze(-1),
            problem.coefficients,
            penalty=problem.penalty / mass[..., None, None],
            max_steps=self.max_steps,
            tolerance=self.tolerance,
        )
        problem.update(maximum.coefficients)
        return maximum


class _Draws:
    """The draws in one row, of shape `(S N, Q, 1 or P)`, and their weights, `(S N,)`."""

    def __init__(self, prior: EnergyPrior, z: Tensor, weights: Tensor | None) -> None:
        event = prior().event_shape
        _check_draws(z, event)
        if weights is None:
            weights = z.new_full(z.shape[:2], 1 / len(z))
        _check_weights(weights, z)
        if z.shape[1] == 1:
            weights = weights.sum(1, keepdim=True)
        self.points = z.detach().double().flatten(0, 1).view(-1, event[0], event[1:].numel())
        self.weights = weights.detach().double().flatten()
        self.num_data = self.weights.sum()

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Few draws at a time: their features are many."""
        return zip(self.points.split(_BLOCK), self.weights.split(_BLOCK), strict=True)


class _Problem:
    """The prior's functions as an exponential family, and what the draws say to each of them.

    Attributes:
        family: The densities of the functions, of batch shape `(Q, P)`.
        penalty: Second derivatives of the penalty, of shape `(Q, 1, K, K)`.
        mass: Sums of weights times responsibilities, of shape `(Q, P)`.
        features: Sums of the same times the basis functions, of shape `(Q, P, K)`.
    """

    def __init__(
        self, prior: EnergyPrior, layer: KANLayer, draws: _Draws, smoothness: float
    ) -> None:
        self.prior, self.layer, self.draws = prior, layer, draws
        self.density = prior.components()
        nodes = self.density.panels.nodes.flatten(-2)
        log_masses = self.density.panels.log_weights.flatten(-2) + self._log_reference(nodes)
        # One row of nodes for all functions, or one for each latent.
        rows = nodes.expand(*self.density.batch_shape, -1)[:, :1].movedim(-1, 0)
        self.family = LinearFamily(self._features(rows).movedim(0, 2), log_masses)
        self.penalty = 2 * smoothness * _roughness_matrix(layer).double().unsqueeze(1)

    @property
    def coefficients(self) -> Tensor:
        """The prior's coefficients, of shape `(Q, P, K)`, float64."""
        return self.layer.coefficients.detach().double().transpose(1, 2)

    def collect(self) -> Tensor:
        """Sums up the draws under the present parameters; returns the objective per datum."""
        log_normalizer = self.family.log_normalizer(self.coefficients)
        self.mass = torch.zeros_like(log_normalizer)
        self.features = torch.zeros_like(self.coefficients)
        rough = self.coefficients @ self.penalty.squeeze(1) * self.coefficients
        total = -0.5 * rough.sum()
        for points, weights in self.draws.blocks():
            features = self._features(points)
            energies = torch.einsum("nqpk,qpk->nqp", features, self.coefficients)
            log_prob = energies + self._log_reference(points) - log_normalizer
            shares, log_prior = _shares(self.prior, log_prob)
            shares = shares * weights[:, None, None]
            self.mass += shares.sum(0)
            self.features += torch.einsum("nqp,nqpk->qpk", shares, features)
            total = total + weights @ log_prior
        return total / self.draws.num_data

    def update(self, coefficients: Tensor) -> None:
        """Writes new coefficients and weights into the prior."""
        # A component without data, or a function that is switched off, stays as it is.
        moved = ((self.mass > _NO_MASS) & (self.layer.mask > 0)).unsqueeze(-1)
        new = torch.where(moved, coefficients, self.coefficients)
        self.layer.coefficients.copy_(new.transpose(1, 2))
        if isinstance(self.prior, MixturePrior) and isinstance(self.prior.logits, nn.Parameter):
            self.prior.logits.copy_(self.mass.clamp(min=_NO_MASS).log().log_softmax(-1))

    def _features(self, points: Tensor) -> Tensor:
        """The features at points `(n, Q, R)`, of shape `(n, Q, R, K)`; constant outside."""
        ends = self.density.breakpoints.detach().double().flatten()[[0, -1]]
        inside = points.clamp(*ends)
        return self.layer.features(inside.transpose(1, 2)).transpose(1, 2).double()

    def _log_reference(self, points: Tensor) -> Tensor:
        return self.density.reference.log_prob(points).detach().double()


def _layer_of(prior: EnergyPrior) -> KANLayer:
    """The prior's functions, if they are linear in their coefficients."""
    if not isinstance(prior.functions, KANLayer) or isinstance(prior.functions, SymbolicLayer):
        raise TypeError(
            "Expected a prior whose functions are one layer, linear in its coefficients, got "
            f"{type(prior.functions).__name__}. Train a prior with hidden layers by gradients, or "
            "build it without hidden=."
        )
    return prior.functions


def _roughness_matrix(layer: KANLayer) -> Tensor:
    """The matrices of the quadratic form `roughness`, of shape `(Q, K, K)`."""
    count = layer.basis.num_functions
    unit = torch.eye(count, dtype=layer.coefficients.dtype, device=layer.coefficients.device)
    differences = second_differences(layer.basis, unit.unsqueeze(1))
    matrix = torch.einsum("kim,lim->ikl", differences, differences)
    # The base activation's coefficient, the last one, is free.
    free = layer.coefficients.shape[1] - count
    return torch.nn.functional.pad(matrix, (0, free, 0, free))


def _shares(prior: EnergyPrior, log_prob: Tensor) -> tuple[Tensor, Tensor]:
    """Each function's share of a draw `(n, Q, P)`, and the draw's log density `(n,)`."""
    if not isinstance(prior, MixturePrior):
        return torch.ones_like(log_prob), log_prob.sum((-2, -1))
    joint = log_prob + prior.logits.detach().double().log_softmax(-1)
    return joint.softmax(-1), joint.logsumexp(-1).sum(-1)


def _check_draws(z: Tensor, event: Size) -> None:
    if z.ndim != 2 + len(event) or z.shape[2:] != event or not z.numel():
        raise ValueError(
            f"Expected draws z of shape (S, N, {', '.join(map(str, event))}), the prior's latents "
            f"last, got {tuple(z.shape)}. Give one draw for each datum a first dimension of 1."
        )
    if not z.isfinite().all():
        raise ValueError(f"Expected finite draws z, got {int((~z.isfinite()).sum())} that are not.")


def _check_weights(weights: Tensor, z: Tensor) -> None:
    if weights.ndim != 2 or len(weights) != len(z) or z.shape[1] not in (1, weights.shape[1]):
        raise ValueError(
            f"Expected weights of shape (S, N) for draws of shape {tuple(z.shape)}, got "
            f"{tuple(weights.shape)}."
        )
    if not (weights.isfinite() & (weights >= 0)).all() or not weights.any():
        raise ValueError(
            "Expected finite weights that are not negative, one at least positive, got values from "
            f"{weights.min():.4g} to {weights.max():.4g}. Exponentiate log weights first, as "
            "log_weights.softmax(0)."
        )
