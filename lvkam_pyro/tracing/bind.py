"""Binding: a program is run on its arguments, and looked at, before anything is assumed of it."""

import warnings
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro.poutine.util import site_is_subsample
from pyro.util import check_site_shape

from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess, RunCount
from lvkam_pyro.tracing.looks import Part, Reference
from lvkam_pyro.tracing.parameters import check_parameters, own_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.proposal import check_names, check_spread, check_supports
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.session import exclusive, seeded_rng
from lvkam_pyro.tracing.structure import ProgramStructure, Unit, find_data_plate

_SEED = 0
"""What a look finds must not depend on the caller's generator."""


class StackingWarning(UserWarning):
    """A program that cannot take stacked particles, and runs on them one by one.

    Example:
        >>> issubclass(StackingWarning, UserWarning)
        True
    """


def bind(model: Program, *args: Any, **kwargs: Any) -> BoundProgram:  # noqa: ANN401
    r"""The bound program of a model and its arguments.

    The model runs once alone, and once with half of its data, in random order, among stacked
    particles with the same latents :math:`z`. If the densities of these data,

    .. math:: \log p(z_n), \quad \log p(x_n | z_n),

    are what they were (to 1e-9 in double precision, 2e-4 in single), data can be cut, shuffled and
    batched, and particles stacked. If not, further runs find out what the program does allow: rows
    that come with the indices of its own plate (covariates that it indexes by them), all data in
    one run, one evidence of the data set where latents of different data act on one observation,
    particles one by one.

    Args:
        model: A Pyro program.
        *args: Its arguments; tensors whose first axis is as long as the data plate are data.
        **kwargs: Its keyword arguments, likewise.

    Returns:
        The bound program; a model that is one already, as it is.

    Raises:
        TypeError: If arguments come with a program that is bound already.
        ValueError: If there is nothing observed, no data, a latent that is discrete or scaled, a
            density that is not a number, or one that changes between runs at the same latents.

    Example:
        >>> import pyro.distributions as dist
        >>> times = torch.arange(4.0)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)) as index:
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z * times[index], 1.0), obs=x)
        >>> bind(model, torch.zeros(4)).access
        <RowAccess.ARGUMENTS_AND_INDICES: 'arguments and indices'>
    """
    if isinstance(model, BoundProgram):
        if args or kwargs:
            raise TypeError("Expected no arguments beside a bound program, which has its own.")
        return model
    arguments = Arguments(args, kwargs).outside_inference_mode()
    arguments.check()
    with (
        exclusive(),
        torch.no_grad(),
        own_parameters(model),
        seeded_rng(_SEED, arguments.like),
    ):
        return _look(model, arguments)


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
        >>> import pyro.distributions as dist
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
        return _look_at_guide(program, guide, is_density=is_density)


class Binder:
    """A memory of a model and a guide that were bound once.

    Other data of the same kind are not looked at. Losses are called again and again; only their
    first call pays for the look.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> binder = Binder()
        >>> binder(model, None, torch.zeros(4)).runs, binder(model, None, torch.zeros(3)).runs
        (RunCount(model=2, guide=0), RunCount(model=2, guide=0))
    """

    def __init__(self) -> None:
        self._known: tuple[Program, Program | None, BoundProgram] | None = None

    def knows(self, model: Program, guide: Program | None) -> bool:
        """Whether these were bound at the last call."""
        return self._known is not None and self._known[0] is model and self._known[1] is guide

    def __call__(
        self,
        model: Program,
        guide: Program | None,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
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
    model: Program,
    guide: Program,
    *args: Any,  # noqa: ANN401
    num_particles: int,
    **kwargs: Any,  # noqa: ANN401
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
        >>> import pyro.distributions as dist
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


def _look(model: Program, arguments: Arguments) -> BoundProgram:
    """The program, from a first run and a second one that puts it to the test."""
    runs, run = RunCount(), SiteRecorder()
    runs.add_model()
    with arguments.not_finite_named(), run:
        trace = pyro.poutine.trace(model).get_trace(*arguments.args, **arguments.kwargs)
    structure = ProgramStructure.of(run, arguments.num_rows)
    program = _unseen(model, arguments, structure, run, runs)
    for site in run.observations.values():
        _check_event_shape(site)
    with arguments.not_finite_named():
        reference = _reference(program, run)
        _check_shapes(trace, structure)
    _check_numbers(reference)
    if structure.unit is Unit.DATA_SET:
        return _seen_jointly(program, reference)
    return _seen_by_datum(program, reference, run)


def _unseen(
    model: Program,
    arguments: Arguments,
    structure: ProgramStructure,
    run: SiteRecorder,
    runs: RunCount,
) -> BoundProgram:
    """The program after its first run, before it was looked at."""
    frame = find_data_plate(run, arguments.num_rows) if structure.unit is Unit.DATUM else None
    size = 1 if frame is None else frame.size
    full = size if frame is None else int(frame.full_size or size)
    subsamples = full > size and arguments.num_rows in (None, full)
    return BoundProgram(
        model=model,
        arguments=arguments,
        structure=structure,
        num_units=full if subsamples else size,
        data_scale=1.0 if subsamples else full / size,
        stacks=True,
        access=None,
        refusal="their latents act together" if frame is None else "",
        subsample_size=size if subsamples else None,
        runs=runs,
    )


def _reference(program: BoundProgram, run: SiteRecorder) -> Reference:
    return Reference.of(
        program.model,
        program.arguments,
        program.structure,
        run.sites,
        num_units=program.subsample_size or program.num_units,
        num_rows=program.num_units,
        count=program.runs.add_model,
    )


def _seen_jointly(program: BoundProgram, reference: Reference) -> BoundProgram:
    """The program whose data have one evidence, which needs nothing but stacked particles."""
    everything = Part(torch.zeros(1, dtype=torch.long))
    return _stacking(program, reference, everything)


def _seen_by_datum(program: BoundProgram, reference: Reference, run: SiteRecorder) -> BoundProgram:
    half, access = _half(program, run), RowAccess.ARGUMENTS
    if program.subsample_size is not None:
        access = RowAccess.INDICES
    refusal = reference.difference(replace(half, access=access), stacked=True)
    if refusal is None:
        return replace(program, access=access)
    if program.subsample_size is not None:
        raise ValueError(
            f"The plate '{program.structure.data_plate}' subsamples its data, but {refusal} beside "
            "other data and particles. Index the data by the plate: obs=x[index]."
        )
    everything = Part(torch.arange(program.num_units))
    program = _stacking(program, reference, everything)
    for access in RowAccess:
        part = replace(half, access=access)
        if reference.difference(part, stacked=program.stacks) is None:
            return replace(program, access=access)
    program = replace(program, refusal=refusal)
    return _joint(program, run) if _is_coupled(reference, program.num_units) else program


def _half(program: BoundProgram, run: SiteRecorder) -> Part:
    """A random half of the data, in random order; of a subsample, half is kept and half is new."""
    if program.subsample_size is None:
        index = torch.randperm(program.num_units)[: max(1, program.num_units // 2)]
        return Part(index, index)
    drawn = run.subsamples[program.structure.data_plate].cpu()
    places = torch.randperm(len(drawn))
    new = torch.ones(program.num_units, dtype=torch.bool)
    new[drawn] = False
    others = new.nonzero()[:, 0][: len(drawn) // 2]
    kept = places[: len(drawn) - len(others)]
    known = torch.cat([kept, torch.full_like(others, -1)])
    return Part(known, torch.cat([drawn[kept], others]))


def _stacking(program: BoundProgram, reference: Reference, everything: Part) -> BoundProgram:
    """The program after a look at stacked particles."""
    stacked = reference.difference(everything, stacked=True)
    if stacked is None:
        return program
    alone = reference.difference(everything, stacked=False)
    if alone is not None:
        raise ValueError(
            f"The model's density is not a function of its latents: at the same latents {alone}. "
            "Draw what is random by pyro.sample, and call model.eval() where it has dropout."
        )
    warnings.warn(
        f"The model does not take stacked particles ({stacked} among other particles), so it runs "
        "on them one by one, which is slow. Write it for values with a further axis on the left: "
        "z[..., 0], .sum(-1), broadcasting.",
        StackingWarning,
        stacklevel=5,
    )
    return replace(program, stacks=False)


def _is_coupled(reference: Reference, num_units: int) -> bool:
    """Whether the density of a datum depends on the latents of others."""
    kept = torch.randperm(num_units) < num_units // 2
    masks = (kept, ~kept)
    parts = (Part(torch.where(mask, torch.arange(num_units), -1)) for mask in masks)
    return any(reference.difference(part, stacked=False) is not None for part in parts)


def _joint(program: BoundProgram, run: SiteRecorder) -> BoundProgram:
    """The program with one evidence of all of its data."""
    arguments = program.arguments
    structure = ProgramStructure.of(run, arguments.num_rows, jointly=True)
    joint = _unseen(program.model, arguments, structure, run, program.runs)
    joint = replace(joint, stacks=program.stacks, refusal=program.refusal)
    return _seen_jointly(joint, _reference(joint, run)) if program.stacks else joint


def _look_at_guide(program: BoundProgram, guide: Program, *, is_density: bool) -> BoundProgram:
    """The program, restricted to what a guide allows, too."""
    run = program.record_guide_alone(guide)
    check_names(run, program.structure)
    reference = replace(_reference(program, run), program=guide, count=program.runs.add_guide)
    if is_density:
        check_supports(run.sites, program.structure)
    if is_density and reference.fixed:
        check_spread(reference.fixed, program.record_guide_alone(guide).sites)
    everything = Part(torch.arange(reference.num_units))
    if program.access is None:
        return _stacking_guide(program, reference, everything)
    half = replace(_half(program, run), access=program.access)
    refusal = reference.difference(half, stacked=program.stacks)
    if refusal is None:
        return program
    program = _stacking_guide(program, reference, everything)
    for access in RowAccess:
        allowed = reference.difference(replace(half, access=access), stacked=program.stacks) is None
        if allowed and _allows(program, access):
            return replace(program, access=access)
    return replace(program, access=None, refusal=f"in the guide {refusal}")


def _stacking_guide(program: BoundProgram, reference: Reference, everything: Part) -> BoundProgram:
    """The program after a look at a guide's stacked particles."""
    return _stacking(program, reference, everything) if program.stacks else program


def _allows(program: BoundProgram, access: RowAccess) -> bool:
    """Whether some of the model's data can be taken in a way."""
    if access is program.access:
        return True
    run = program.record_alone()
    part = replace(_half(program, run), access=access)
    return _reference(program, run).difference(part, stacked=program.stacks) is None


def _check_event_shape(site: Site) -> None:
    """The observed value has the shape of the likelihood's events."""
    event, value = site["fn"].event_shape, site["value"].shape
    if event != value[len(value) - len(event) :]:
        raise ValueError(
            f"The model's site {site['name']!r} is of data of shape {tuple(event)}; the data are "
            f"{tuple(value[1:])}. Build the model for as many outputs as the data have."
        )


def _check_numbers(reference: Reference) -> None:
    """Some log density of each site is a number."""
    for name, log_prob in reference.log_probs.items():
        if bool(log_prob.isnan().all()):
            raise ValueError(
                f"The log density of the site '{name}' is not a number at any of "
                f"{len(log_prob)} data. Return -inf where the model gives no probability."
            )


def _check_shapes(trace: pyro.poutine.Trace, structure: ProgramStructure) -> None:
    """Pyro's own check: the batch axes of each site are those of its plates."""
    trace.compute_log_prob()
    own_plates = structure.num_plates - int(structure.unit is Unit.DATA_SET)
    for site in trace.nodes.values():
        if site["type"] == "sample" and not site_is_subsample(site):
            check_site_shape(site, own_plates)
