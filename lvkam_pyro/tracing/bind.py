"""Binding: a program is run on its arguments, and looked at, before anything is assumed of it."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Arguments, Program, keys_of
from lvkam_pyro.tracing.guide_looks import look_at_guide
from lvkam_pyro.tracing.looks import look
from lvkam_pyro.tracing.parameters import check_parameters, own_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import exclusive, seeded_rng

_SEED = 0
"""The findings of a look must not depend on the caller's generator."""


def bind(
    model: Program, *args: Any, rows: Sequence[str] | None = None, **kwargs: Any
) -> BoundProgram:
    r"""The bound program of a model and its arguments.

    The model runs once alone, and once with half of its data (twice, if they are fewer than 9), in
    random order, among stacked particles with the same latents :math:`z`. If the densities of
    these data,

    .. math:: \log p(z_n), \quad \log p(x_n | z_n),

    are what they were (to 1e-9 in double precision, 2e-4 in single), data can be cut, shuffled and
    batched, and particles stacked. If not, further runs find out what the program does allow: rows
    that come with the indices of its own plate (covariates that it indexes by them), all data in
    one run, one evidence of the data set where latents of different data act on one observation,
    particles one by one.

    Args:
        model: A Pyro program.
        *args: Its arguments; tensors whose first axis is as long as the data plate have a row for
            each datum.
        rows: The names of the arguments that have one, where their lengths do not tell.
        **kwargs: Its keyword arguments, likewise.

    Returns:
        The bound program; a model that is one already, as it is.

    Raises:
        TypeError: If arguments come with a program that is bound already.
        ValueError: If there is nothing observed, no data, a latent that is discrete or scaled, a
            density that is not a number, or one that changes between runs at the same latents.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> times = torch.arange(4.0)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)) as index:
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z * times[index], 1.0), obs=x)
        >>> bind(model, torch.zeros(4)).access
        <RowAccess.ARGUMENTS_AND_INDICES: 'arguments and indices'>
    """
    if isinstance(model, BoundProgram):
        if args or kwargs or rows is not None:
            raise TypeError("Expected no arguments beside a bound program, which has its own.")
        return model
    arguments = Arguments(args, kwargs).outside_inference_mode()
    arguments.check()
    if rows is not None:
        arguments = replace(arguments, with_rows=keys_of(rows, model, arguments))
    with (
        exclusive(),
        torch.no_grad(),
        own_parameters(model),
        seeded_rng(_SEED, arguments.like),
    ):
        return look(model, arguments)


def bind_guide(program: BoundProgram, guide: Program, *, is_density: bool = True) -> BoundProgram:
    """The program, seen with a guide: restricted to what both allow.

    Args:
        program: The bound model.
        guide: A Pyro program of the same arguments, with the model's latent sites.
        is_density: Whether the guide has to be a density on the support of the latents. Pyro's
            own objectives train points, too.

    Returns:
        The program; its data are taken apart only as the guide allows it too.

    Raises:
        ValueError: If the guide is no density on the support of the model's latents.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Delta(x / 2))
        >>> bind_guide(bind(model, torch.zeros(4)), guide)
        Traceback (most recent call last):
        ...
        ValueError: The guide's site 'z' is a Delta that always holds one value: ...
    """
    if isinstance(guide, LibraryGuide):
        return program
    with program.session(guide, seed=_SEED):
        return look_at_guide(program, guide, is_density=is_density)


class Binder:
    """A memory of a model and a guide that were bound once.

    Other data of the same kind are not looked at. Losses are called again and again; only their
    first call pays for the look.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> binder = Binder()
        >>> binder(model, None, torch.zeros(9)).runs, binder(model, None, torch.zeros(3)).runs
        (RunCount(model=2, guide=0), RunCount(model=2, guide=0))
    """

    def __init__(self) -> None:
        self._known: tuple[Program, Program | None, BoundProgram] | None = None

    def knows(self, model: Program, guide: Program | None) -> bool:
        """Whether these were bound at the last call."""
        return self._known is not None and self._known[0] is model and self._known[1] is guide

    def __call__(
        self, model: Program, guide: Program | None, *args: Any, **kwargs: Any
    ) -> BoundProgram:
        """The bound program, seen with the guide if there is one.

        A bound program in the place of the model, or of the arguments, is taken as it is.
        """
        if isinstance(model, BoundProgram):
            return bind(model, *args, **kwargs)
        if args and isinstance(args[0], BoundProgram):
            return args[0]
        if self._known is None or not self.knows(model, guide):
            check_parameters(model, guide)
            program = bind(model, *args, **kwargs)
            program = program if guide is None else bind_guide(program, guide)
            self._known = model, guide, program
            return program
        return self._known[2].on(*args, **kwargs)

    def __getstate__(self) -> dict[str, None]:
        # Neither a copy nor another process needs to know the programs.
        return {"_known": None}


def draw_particles(
    model: Program, guide: Program, *args: Any, num_particles: int, **kwargs: Any
) -> Particles:
    """Particles that a guide draws and a model weighs: one run of each, all at once.

    The guide runs inside a plate of particles left of all its own plates; the model runs on these
    latents. A `PriorGuide` is run on one datum where the model allows it, so that the model
    computes S points and not S times N. Gradients flow to model and guide unless the caller
    turns them off. Both are looked at before: see `bind`.

    Args:
        model: A Pyro model, or a bound program.
        guide: A Pyro guide of the same arguments, with the model's latent sites.
        *args: The arguments of both.
        num_particles: S, the number of draws for each unit.
        **kwargs: The keyword arguments of both.

    Returns:
        The particles.

    Raises:
        TypeError: If `num_particles` is no integer.
        ValueError: If it is below 1, or `bind` refuses the model, or the guide's sites are not the
            model's or no densities on their support, or Pyro's store has parameters of other
            modules under the names of theirs (see `own_parameters`).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> x = torch.tensor([0.0, 1.0])
        >>> particles = draw_particles(model, guide, x, num_particles=3)
        >>> particles.log_evidence  # The guide is the posterior, so every draw says the same.
        tensor([-1.2655, -1.5155])
    """
    check_count("num_particles", num_particles)
    check_parameters(model, guide)
    program = bind_guide(bind(model, *args, **kwargs), guide)
    return program.draw(guide, num_particles)


class ProgramLoss(ELBO):
    """A Pyro ELBO that binds the model to its arguments, once, and has a loss of bound programs.

    It stands wherever `Trace_ELBO` does: `SVI(model, guide, optim, loss=objective)`,
    `objective(model, guide)(x)` with a torch optimiser, `objective.loss(model, guide, x)`; and a
    bound program may stand in the place of the arguments.

    Implementing one: inherit from `ProgramLoss` and define `loss_of(program, guide)`.

    Arguments:
        num_particles: As of Pyro's ELBOs.
        vectorize_particles: As of Pyro's ELBOs.

    Example:
        >>> import lvkam_pyro as lv
        >>> [isinstance(one, ProgramLoss) for one in (lv.EmpiricalBayes(), lv.evidence.ELBO())]
        [True, True]
    """

    def __init__(self, num_particles: int = 1, *, vectorize_particles: bool = False) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self._binder = Binder()

    @abstractmethod
    def loss_of(self, program: BoundProgram, guide: Any) -> Tensor:  # noqa: ANN401
        """The loss, a scalar in nats, scaled from the batch to the whole plate.

        Args:
            program: The model on a batch.
            guide: A Pyro program; None where the objective needs none.
        """

    def differentiable_loss(
        self, model: Program, guide: Program | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """The loss on the arguments, or on the bound program in their place, with its gradient."""
        program = self._binder(model, guide, *args, **kwargs)
        return self.loss_of(program.subsample(), guide)

    def loss(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> float:
        """The value of the loss, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(
        self, model: Program, guide: Program | None, *args: Any, **kwargs: Any
    ) -> float:
        """The value of the loss; its gradients are added to the parameters', as SVI expects."""
        if not self._binder.knows(model, guide):
            check_parameters(model, guide, by_name=True)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """One trace of guide and model, for those of Pyro's tools that ask an ELBO for it."""
        traces: tuple[Any, Any] = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs
        )
        return traces
