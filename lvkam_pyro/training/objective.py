"""The objective of empirical Bayes: the evidence of weighted particles, climbed exactly."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import ProgramLoss
from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Unconditioned
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.sites import is_weighted
from lvkam_pyro.tracing.structure import Unit


@dataclass(frozen=True)
class Dreams:
    r"""Draws :math:`(z, x) \sim p(z) \, p(x \mid z)` of a model, and a guide's density of them.

    Attributes:
        observed: The name of the site whose observation is one of the arguments.
        place: Which of the tensors among the arguments that is.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(10, 5)
        >>> program = lv.bind(model, x)
        >>> Dreams.of(program).log_guide(program, lv.AmortizedGuide(model, x)).shape
        torch.Size([10])
    """

    observed: str
    place: int = 0

    @classmethod
    def of(cls, program: BoundProgram) -> Self | None:
        """How to dream of data like the program's.

        Returns:
            The dreams, given the covariates if there are any; None where draws would have another
            posterior than the data: where the program observes more or less than the whole of one
            argument, or a mask weighs a site.
        """
        structure, data = program.structure, program.arguments.tensors
        with torch.no_grad(), seeded_rng(0, program.like):
            run = program.record_alone()
        name, site = next(iter(run.observations.items()))
        places = [place for place, tensor in enumerate(data) if tensor is site["value"]]
        is_one = len(run.observations) == structure.num_plates == len(places) == 1
        if not is_one or structure.unit is Unit.DATA_SET:
            return None
        sites = run.sites.values()
        is_plain = not any(is_weighted(site, structure.data_scale(site)) for site in sites)
        return cls(name, places[0]) if is_plain else None

    def log_guide(self, program: BoundProgram, guide: Program) -> Tensor:
        """The guide's log density of as many dreams as the program has data, of shape `(N,)`."""
        with torch.no_grad(), Unconditioned():
            dream = program.record_alone()
        values = {site.name: dream.sites[site.name]["value"] for site in program.structure.latents}
        observed = program.arguments.tensors[self.place]
        drawn = dream.sites[self.observed]["value"].to(observed.dtype)
        dreamed = replace(program, arguments=program.arguments.substitute(observed, drawn))
        proposal = dreamed.record_guide_alone(guide, values)
        return sum_log_probs(proposal.sites, program.structure, (1, program.num_units))[0]


class ParticleObjective(ProgramLoss):
    """A loss that is made of particles drawn by the guide for each datum.

    Implementing one:

    - Inherit from `ParticleObjective` and define `loss_of(program, guide)`.
    - There, `self._remember(particles)` keeps their effective size.

    Attributes:
        effective_size: The effective number of a datum's particles (mean over data, at most S) at
            the last call; None before. `fit` reports it.

    Arguments:
        num_particles: Particles per datum `S`.

    Raises:
        ValueError: If `num_particles` is below 2, when there are no weights to learn from.
    """

    def __init__(self, num_particles: int) -> None:
        if num_particles < 2:
            raise ValueError(
                f"Expected at least 2 particles, got num_particles = {num_particles}: the weights "
                "of one particle are 1 whatever it is."
            )
        super().__init__(num_particles, vectorize_particles=True)
        self.effective_size: Tensor | None = None

    def _remember(self, particles: Particles) -> None:
        self.effective_size = effective_sample_size(particles.log_weights.detach()).mean()


class EmpiricalBayes(ParticleObjective):
    r"""Maximum likelihood of a model with latents, by importance-weighted particles.

    .. math:: \nabla_\theta \log p(x_n) = \mathbb{E}_{p(z \mid x_n)} \nabla_\theta \log p(x_n, z)
              \approx \sum_s \bar w_{sn} \nabla_\theta \log p(x_n, z_{sn}), \qquad
              \bar w_{sn} \propto \frac{p(x_n, z_{sn})}{q(z_{sn} \mid x_n)}

    (Fisher's identity.) The particles come from the guide and carry no gradient. A guide with
    parameters is trained on the same particles to cover the posterior, by the wake-phase gradient
    :math:`\sum_s \bar w_{sn} \nabla_\phi \log q(z_{sn} \mid x_n)` of reweighted wake-sleep
    (Bornschein and Bengio 2015, https://arxiv.org/abs/1406.2751, equations 5 and 8). With a
    `sleep_weight` it also learns, by equation 7, to invert the model's own dreams
    :math:`(z, x) \sim p(z) p(x \mid z)`, of which there is no end: on scarce data that is what
    keeps the guide from learning the training data by heart.

    The normalisers of a learned prior are part of :math:`\log p(z)`, so the prior's gradient is
    :math:`\mathbb{E}_{post} \nabla f - \mathbb{E}_{prior} \nabla f` without contrastive draws.

    ``EmpiricalBayes()(model, guide)`` is a torch module whose call on the data is the loss, the
    importance estimate of :math:`-\sum_n \log p(x_n)` in nats; train its ``parameters()`` with any
    torch optimiser. It also stands as the ``loss`` of Pyro's ``SVI``. Pyro's global store would
    give two instances of one class the same parameters; the second one is refused.

    Optimisers that compare values, such as ``torch.optim.LBFGS`` with its line search, need the
    same draws at every call: seed torch at the start of the closure, and pass all of the data. With
    a guide that is not trained the model's gradient is then that of the value, to rounding. A
    :class:`PriorGuide` follows the prior as it is learned, so freeze it for as long as L-BFGS runs:
    ``PriorGuide(copy.deepcopy(model))``. A trained guide's gradient is not that of the value: Adam
    is the optimiser for it.

    Attributes:
        effective_size: The effective number of a datum's particles (mean over data, at most S) at
            the last call; None before. `fit` reports it.

    Arguments:
        num_particles: Particles per datum `S`.
        sleep_weight: Weight of the dreams, one for each datum of the batch, beside the wake phase.
            A model that observes anything else than an argument cannot dream, and does not.

    Raises:
        ValueError: If `num_particles` is below 2, when there are no weights to learn from, or
            `sleep_weight` is negative.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> objective = lv.EmpiricalBayes(num_particles=64)(model, lv.PriorGuide(model))
        >>> objective(torch.rand(10, 5)).backward()
        >>> model.prior.functions.coefficients.grad.isfinite().all()
        tensor(True)
    """

    def __init__(self, num_particles: int = 8, *, sleep_weight: float = 0.0) -> None:
        super().__init__(num_particles)
        if not sleep_weight >= 0:
            raise ValueError(f"Expected a sleep_weight of at least 0, got {sleep_weight}.")
        self.sleep_weight = sleep_weight
        self._dreamer: tuple[Program, Dreams | None] | None = None

    def loss_of(self, program: BoundProgram, guide: Program) -> Tensor:
        """The loss, a scalar in nats, scaled from the batch to the whole plate."""
        dreams = self._dreams_of(program)
        proposal = guide if isinstance(guide, LibraryGuide) else _Detached(guide)
        particles = program.draw(proposal, self.num_particles)
        self._remember(particles)
        loss = _wake_model(particles) + _wake_guide(particles)
        if dreams is not None and particles.log_guide.requires_grad:
            loss = loss + self.sleep_weight * _without_value(-dreams.log_guide(program, guide))
        return particles.data_scale * loss

    def _dreams_of(self, program: BoundProgram) -> Dreams | None:
        """How the model dreams, found once; None where it shall not or cannot."""
        if self._dreamer is None or self._dreamer[0] is not program.model:
            dreams = Dreams.of(program) if self.sleep_weight > 0 else None
            self._dreamer = program.model, dreams
        return self._dreamer[1]


def _wake_model(particles: Particles) -> Tensor:
    """Minus the log evidence; its gradient is Fisher's, for the guide's term has none."""
    log_weights = particles.log_joint - particles.log_guide.detach()
    log_evidence = log_weights.logsumexp(0) - math.log(len(log_weights))
    return -log_evidence.sum()


def _wake_guide(particles: Particles) -> Tensor:
    """The guide's gradient, by the detached weights."""
    if not particles.log_guide.requires_grad:
        return particles.log_guide.new_zeros(())
    weights = particles.log_weights.detach().softmax(0)
    return _without_value(-(weights * particles.log_guide))


def _without_value(terms: Tensor) -> Tensor:
    """A scalar zero with the gradient of the sum of the terms: the loss stays the evidence."""
    total = terms.sum()
    return total - total.detach()


class _Detached(Messenger):
    """Runs a guide whose draws carry no gradient, while their densities do."""

    def __init__(self, guide: Program) -> None:
        super().__init__()
        self.guide = guide

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with self:
            return self.guide(*args, **kwargs)

    def _pyro_post_sample(self, msg: pyro.poutine.runtime.Message) -> None:
        msg["value"] = msg["value"].detach()
