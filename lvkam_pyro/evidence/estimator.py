"""What every estimator of the evidence is: a Pyro ELBO that can also say how well it is known."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.parameters import check_parameters
from lvkam_pyro.tracing.particles import Guide
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.structure import Model


class Estimator(ELBO):
    """An estimator of log p(x_n) for each datum of a Pyro model.

    It stands wherever `Trace_ELBO` does: `SVI(model, guide, optim, loss=estimator)`,
    `estimator(model, guide)(x)` with a torch optimiser, `estimator.loss(model, guide, x)`. The loss
    is minus the total, scaled to the data plate's full size; its gradient in the model's parameters
    is Fisher's, E[grad log p(x, z) | x] under the estimator's posterior draws. Losses train what
    Pyro's parameter store holds, and refuse modules of whose names it holds other tensors;
    `estimate` computes with the modules' own parameters and leaves the store as it was.

    Implementing an estimator:

    - Inherit from `Estimator` and set `name`, the display name, and `is_lower_bound` if what it
      estimates is a bound: its results say so.
    - Define `estimate(model, x, guide=None, *, seed=0) -> Evidence`.
    - Define `log_evidence(model, guide, x) -> (total, data scale)`: the total of one estimate as a
      tensor with Fisher's gradient, from torch's global generator.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.SteppingStone(), Estimator)
        True
    """

    name: str
    is_lower_bound: bool = False

    @abstractmethod
    def estimate(
        self, model: Model, x: Tensor, guide: Guide | None = None, seed: int = 0
    ) -> Evidence:
        """Estimate log p(x_n) with standard errors and a verdict.

        Args:
            model: A Pyro model of one positional tensor, with a data plate along its first axis.
            x: The observations, of shape `(N, ...)`.
            guide: The proposal; None is the model's prior. Ladders need none.
            seed: Equal seeds give equal results; the caller's generators are left alone.

        Returns:
            The evidence.

        Raises:
            TypeError: If `x` is no tensor.
            ValueError: If `x` is empty or not finite, or the model has no evidence per datum.
        """

    @abstractmethod
    def log_evidence(self, model: Model, guide: Guide | None, x: Tensor) -> tuple[Tensor, float]:
        """The total log evidence of one estimate, and the data plate's scale.

        Args:
            model: The Pyro model.
            guide: The proposal; None is the prior.
            x: The observations, of shape `(N, ...)`.

        Returns:
            A scalar whose gradient is Fisher's, and full size / size of the data plate.
        """

    def differentiable_loss(self, model: Model, guide: Guide | None, x: Tensor) -> Tensor:
        """Minus the total log evidence, scaled to the plate's full size, with its gradient."""
        check_parameters(model, guide)
        total, scale = self.log_evidence(model, guide, x)
        return -total * scale

    def loss(self, model: Model, guide: Guide | None, x: Tensor) -> float:
        """Minus the total log evidence, scaled to the plate's full size."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, x))

    def loss_and_grads(self, model: Model, guide: Guide | None, x: Tensor) -> float:
        """The loss; its gradient is added to the parameters' `.grad`, where `SVI` finds it."""
        check_parameters(model, guide, by_name=True)
        loss = self.differentiable_loss(model, guide, x)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Model, guide: Guide, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        traces: tuple[Any, Any] = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs
        )
        return traces


def guide_or_prior(guide: Callable[..., Any] | None, model: Model) -> Guide:
    """The guide, or the model's prior where there is none.

    Example:
        >>> type(guide_or_prior(None, lambda x: None)).__name__
        'PriorGuide'
    """
    return PriorGuide(model) if guide is None else guide
