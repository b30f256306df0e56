"""Explanations of what fails inside a user's program: its own errors, densities that are NaN."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.session import is_out_of_memory
from lvkam_pyro.tracing.sites import is_improper

_NUM_TRIED = 1000
"""Draws from the prior at which a density is tried."""


class UndefinedEvidenceError(ValueError):
    """A program that has no evidence, since a prior of it is not normalised.

    Example:
        >>> issubclass(UndefinedEvidenceError, ValueError)
        True
    """


class FirstRun(SiteRecorder):
    """The recorder of a program's first run, which refuses what has no density.

    Example:
        >>> import pyro.distributions as dist
        >>> with FirstRun() as run:
        ...     z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
        Traceback (most recent call last):
        ...
        lvkam_pyro.tracing.failures.UndefinedEvidenceError: The latent site 'z' has an improper ...
    """

    def _pyro_sample(self, msg: Site) -> None:
        if is_improper(msg) and not msg["is_observed"]:
            raise UndefinedEvidenceError(
                f"The latent site '{msg['name']}' has an improper prior, with which the evidence "
                "is undefined: it would be known up to a factor. Give it a proper one, such as a "
                "wide Normal."
            )
        super()._pyro_sample(msg)


@contextmanager
def own_failure(model: Program, arguments: Arguments, run: SiteRecorder) -> Iterator[None]:
    """Says of an error in a program's first run what is wrong with the program.

    Args:
        model: The program.
        arguments: Its arguments.
        run: What records the run.

    Yields:
        Nothing.

    Example:
        >>> import torch
        >>> with own_failure(lambda x: None, Arguments((torch.zeros(5),), {}), SiteRecorder()):
        ...     torch.zeros(5) + torch.zeros(7)
        Traceback (most recent call last):
        ...
        ValueError: The model fails on its own arguments of shapes [(5,)], before anything is ...
    """
    try:
        yield
    except UndefinedEvidenceError as error:
        raise UndefinedEvidenceError(_text(error)) from None
    except (ValueError, RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        arguments.check_finite()
        shapes = [tuple(tensor.shape) for tensor in arguments.tensors]
        raise ValueError(
            _nan_at_latents_of(model, arguments, run)
            or f"The model fails on its own arguments of shapes {shapes}, before anything is done "
            f"with it: {type(error).__name__}: {_text(error)} Call it by itself first, and give "
            "its plates and sites the sizes of its arguments."
        ) from error


def _text(error: Exception) -> str:
    """An error without the table of shapes that Pyro adds to it."""
    return " ".join(str(error).split("Trace Shapes:")[0].split())


def _nan_at_latents_of(model: Program, arguments: Arguments, run: SiteRecorder) -> str:
    values = {name: site["value"] for name, site in run.latents.items()}
    with pyro.validation_enabled(False):
        try:
            with SiteRecorder(values) as again:
                model(*arguments.args, **arguments.kwargs)
            return _nan_in(again)
        except Exception:
            return ""  # Whatever fails here is what has failed before.


def explain_nan(program: BoundProgram) -> str:
    """The site whose log density is NaN at draws from the prior, how often, and where.

    Args:
        program: The program, in its session.

    Returns:
        A sentence with what to do; empty if there is no such site.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     pyro.factor("f", torch.where(z > 9.0, torch.nan, -z))
        >>> explain_nan(bind(model, torch.zeros(3)))
        ''
    """
    # Torch's own checks would raise where the density is to be looked at.
    most = min(_NUM_TRIED, program.particles_per_run()) if program.stacks else 1
    try:
        with pyro.validation_enabled(False):
            return next(filter(None, map(_nan_in, program.runs_at_prior(most))), "")
    except (ValueError, RuntimeError):
        return ""  # A reason is looked for, and what was estimated must not be lost by that.


def _nan_in(run: SiteRecorder) -> str:
    for name, site in run.sites.items():
        bad = site["fn"].log_prob(site["value"]).isnan()
        if bool(bad.any()):
            return (
                f"The log density of the site '{name}' is NaN at {float(bad.double().mean()):.1%} "
                f"of its values under the prior, e.g. at {_latents_at(run, bad)}. Return -inf "
                "where the model gives no probability."
            )
    return ""


def _latents_at(run: SiteRecorder, bad: Tensor) -> str:
    """The latents of the first draw and datum at which a density is bad."""
    index = bad.nonzero()[0].tolist()
    return ", ".join(
        f"{name} = {_shown(_entry(site['value'], index, site['fn'].event_dim))}"
        for name, site in run.latents.items()
    )


def _entry(value: Tensor, index: list[int], event_dim: int) -> Tensor:
    """The event of a value at an index of the axes of particles and plates, right-aligned."""
    num_batch = value.ndim - event_dim
    own = index[max(0, len(index) - num_batch) :]
    own = [0] * (num_batch - len(own)) + own
    return value[tuple(min(i, size - 1) for i, size in zip(own, value.shape, strict=False))]


def _shown(value: Tensor) -> str:
    return ", ".join(f"{entry:.4g}" for entry in value.flatten()[:5].tolist())
