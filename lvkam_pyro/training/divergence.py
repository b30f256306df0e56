"""The named end of a training whose loss or gradient is no longer finite."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import SiteRecorder

_REMEDY = "Lower learning_rate, set max_gradient_norm, or look for outliers in the data."
_REFUSAL = re.compile(r"Expected parameter .* to satisfy")


class DivergenceError(RuntimeError):
    """A loss or a gradient became NaN or infinite; the parameters are those before that update."""


def divergence_error(
    loss: Tensor, module: nn.Module, *, epoch: int, batch: int, sites: list[str]
) -> DivergenceError:
    """Says where a training diverged.

    Args:
        loss: The loss of the update, ().
        module: The objective with the model and the guide, after `backward`.
        epoch: The epoch, from 1.
        batch: The batch in the epoch, from 1.
        sites: The sites whose log density is not finite.

    Returns:
        The error, which names these and the parameters whose gradient is not finite.
    """
    names = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    overflow = " the norm of the gradient overflows;" if loss.isfinite() else ""
    gradients = f" the gradient is not finite for {', '.join(names)};" if names else overflow
    densities = f" the log density is not finite at {', '.join(sites)};" if sites else ""
    return DivergenceError(
        f"Training diverged at epoch {epoch}, batch {batch}: the loss is {loss.item():.6g};"
        f"{densities}{gradients} this update was not made. {_REMEDY}"
    )


@contextmanager
def refusals_named(*, epoch: int, batch: int) -> Iterator[None]:
    """Takes a distribution's refusal of its parameters for what it is: a divergence.

    Before the first update model and guide have run on a batch of the data, and were content.

    Args:
        epoch: The epoch, from 1.
        batch: The batch in the epoch, from 1.

    Raises:
        DivergenceError: If a distribution inside refuses its parameters; that it refuses a value
            may be the data's fault.

    Example:
        >>> with refusals_named(epoch=2, batch=1):
        ...     torch.distributions.Normal(torch.nan, 1.0)
        Traceback (most recent call last):
        lvkam_pyro.training.divergence.DivergenceError: Training diverged at epoch 2, batch 1: ...
    """
    try:
        yield
    except ValueError as error:
        text = " ".join(str(error).split())
        if _REFUSAL.match(text) is None:
            raise
        reason = re.split(r",? but found invalid", text)[0]
        raise DivergenceError(
            f"Training diverged at epoch {epoch}, batch {batch}: a distribution refuses what it "
            f"got ({reason}); this update was not made. {_REMEDY}"
        ) from error


def sites_not_finite(program: BoundProgram, guide: Program) -> list[str]:
    """The sites, of the model at a draw of the guide, where a log density is NaN or infinite.

    Args:
        program: The model, bound to the data on which both are run.
        guide: The guide.

    Returns:
        Such as `["model site 'x'"]`; none where the run itself fails.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> sites_not_finite(lv.bind(model, torch.tensor([0.0, 1e30])), guide)
        ["model site 'x'"]
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            proposal = program.record_guide_alone(guide)
            values = {name: site["value"] for name, site in proposal.latents.items()}
            run = program.record_alone(SiteRecorder({**proposal.subsamples, **values}))
        except ValueError:
            return []
        return [*_not_finite("guide", proposal), *_not_finite("model", run)]


def _not_finite(whose: str, run: SiteRecorder) -> list[str]:
    def is_finite(site: dict[str, Any]) -> bool:
        return bool(site["fn"].log_prob(site["value"]).isfinite().all())

    return [f"{whose} site {name!r}" for name, site in run.sites.items() if not is_finite(site)]
