"""The prior as a proposal: particles shared by all data."""

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

import pyro
import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.recorder import (
    LastLatentDrawnError,
    LatentRecorder,
    Site,
    with_exact_sampler,
)
from lvkam_pyro.tracing.sites import subsampling_scale
from lvkam_pyro.tracing.structure import ProgramStructure


class PriorRecorder(LatentRecorder):
    """Lets a model draw its latents, at their own density, and stops it after the last.

    Example:
        >>> import pyro.distributions as dist
        >>> with PriorRecorder() as recorder, pyro.poutine.scale(scale=0.5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> recorder.latents["z"]["scale"]
        1.0
    """

    def _pyro_sample(self, msg: Site) -> None:
        # A draw has the distribution of its site whatever factor the user gave its log density.
        msg["scale"] = 1.0
        for frame in msg["cond_indep_stack"]:
            msg["scale"] = msg["scale"] * subsampling_scale(frame)
        msg["fn"] = with_exact_sampler(msg["fn"])


class LibraryGuide(ABC):
    """A guide of this library, whose density is right as it is: nothing is looked at.

    Example:
        >>> issubclass(PriorGuide, LibraryGuide)
        True
    """

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site of the model."""

    def on(self, program: Any) -> "LibraryGuide":  # noqa: ANN401
        """The guide for the data of a bound program: the same, unless it has to know them."""
        return self


class PriorGuide(LibraryGuide):
    """A Pyro guide that proposes every latent from the model's own prior.

    Called as a guide it draws for each datum (so that it serves `Trace_ELBO` too). In
    `draw_particles` it is called on the first datum only and all data share these draws: the model
    decodes S points instead of S times N. Its log density is that of the first datum's prior, so
    the weights stay exact where the prior depends on a datum's covariates. It stops the model
    after the last latent (the model must draw the same sites in every run) and has no parameters:
    neither draws nor log density carry a gradient in `draw_particles`.

    Args:
        model: The Pyro model.

    Example:
        >>> import pyro.distributions as dist
        >>> import lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> particles = lv.draw_particles(
        ...     model, PriorGuide(model), torch.zeros(5, 2), num_particles=100)
        >>> particles.latents["z"].shape, particles.log_weights.shape
        (torch.Size([100, 1, 2]), torch.Size([100, 5]))
    """

    def __init__(self, model: Program) -> None:
        self.model = model
        self._last: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site of the model.

        Args:
            *args: The arguments of the model; of the observations only their number matters where
                the prior does not depend on them.
            **kwargs: The keyword arguments of the model.

        Returns:
            Site name to draw.
        """
        hidden = pyro.poutine.block(hide_fn=_is_observed)
        run = PriorRecorder(last=self._last)
        with suppress(LastLatentDrawnError), torch.no_grad(), hidden, run:
            self.model(*args, **kwargs)
        latents = run.latents
        self._last = next(reversed(latents), None)
        return {name: site["value"] for name, site in latents.items()}

    def on(self, program: Any) -> "PriorGuide":  # noqa: ANN401
        """The guide, which knows from the program after which latent the likelihood begins."""
        if program.model is self.model:
            self._last = program.structure.latents[-1].name if program.structure.latents else None
        return self

    def proposes_from(self, model: Program, structure: ProgramStructure) -> bool:
        """Whether the log density of its draws is the log prior of the model, as it stands.

        A mask around a latent of the model changes what it counts, not how it is drawn.

        Args:
            model: The model.
            structure: Its structure.

        Example:
            >>> import pyro.distributions as dist
            >>> def model(x):
            ...     with pyro.plate("data", len(x)):
            ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
            ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            >>> import lvkam_pyro as lv
            >>> program = lv.bind(model, torch.zeros(3))
            >>> PriorGuide(model).proposes_from(model, program.structure)
            True
        """
        return self.model is model and not any(site.masked for site in structure.latents)


def _is_observed(msg: Site) -> bool:
    """Whether a message is that of an observed site, which no guide has."""
    return bool(msg["type"] == "sample" and msg["is_observed"])
