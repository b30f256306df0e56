"""Looks at a program: whether its rows may be cut, its particles stacked, its data told apart.

Nothing of that is assumed. The program runs alone on all of its data, then on some of them or
beside other particles, with the same latents; the densities of a datum must stay what they were.
"""

from dataclasses import replace

import pyro
import torch
from pyro.poutine.util import site_is_subsample
from pyro.util import check_site_shape

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess, RunCount
from lvkam_pyro.tracing.failures import FirstRun, own_failure
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.reference import NUM_STACKED, Part, Reference
from lvkam_pyro.tracing.session import LargestArray
from lvkam_pyro.tracing.stacking import reference_of, stacking
from lvkam_pyro.tracing.structure import ProgramStructure, Unit, find_data_plate
from lvkam_pyro.tracing.sums import look_at_sums, without_idle

_FEW = 9
"""Data below which one half of them shows too little."""


def look(model: Program, arguments: Arguments) -> BoundProgram:
    """The program, from a first run and a second one that puts it to the test."""
    runs, run = RunCount(), FirstRun()
    runs.add_model()
    with own_failure(model, arguments, run), run:
        trace = pyro.poutine.trace(model).get_trace(*arguments.args, **arguments.kwargs)
    seen = without_idle(model, arguments, run)
    if seen is not None:
        return look(seen, arguments)
    structure = ProgramStructure.of(run, arguments.num_rows)
    program = _unseen(model, arguments, structure, run, runs)
    for site in run.observations.values():
        _check_event_shape(site)
    with own_failure(model, arguments, run):
        trace.compute_log_prob()
    reference = reference_of(program, run)
    _check_shapes(trace, structure)
    _check_numbers(reference)
    if not all(bool(log_prob.isfinite().all()) for log_prob in reference.log_probs.values()):
        arguments.check_finite()
    if structure.unit is Unit.DATA_SET:
        program = _seen_jointly(program, reference)
    else:
        program = _seen_by_datum(program, reference, run)
    return look_at_sums(program, run) if structure.discrete else program


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


def _seen_jointly(program: BoundProgram, reference: Reference) -> BoundProgram:
    """The program whose data have one evidence, which needs nothing but stacked particles."""
    everything = Part(torch.zeros(1, dtype=torch.long))
    # What the program makes of its latents and of what it has closed over is no argument's size.
    with LargestArray() as largest:
        program = stacking(program, reference, everything)
    return replace(program, values_per_particle=-(-largest.num_values // NUM_STACKED))


def _seen_by_datum(program: BoundProgram, reference: Reference, run: SiteRecorder) -> BoundProgram:
    parts, access = parts_of(program, run), RowAccess.ARGUMENTS
    if program.subsample_size is not None:
        access = RowAccess.INDICES
    refusal = difference(reference, parts, access, stacked=True)
    if refusal is None:
        return replace(program, access=access)
    if program.subsample_size is not None:
        raise ValueError(
            f"The plate '{program.structure.data_plate}' subsamples its data, but {refusal} beside "
            "other data and particles. Index the data by the plate: obs=x[index]."
        )
    everything = Part(torch.arange(program.num_units))
    program = stacking(program, reference, everything)
    for access in RowAccess:
        if difference(reference, parts, access, stacked=program.stacks) is None:
            return replace(program, access=access)
    program = replace(program, refusal=refusal)
    return _joint(program, run) if _is_coupled(reference, program.num_units) else program


def difference(
    reference: Reference, parts: list[Part], access: RowAccess, *, stacked: bool
) -> str | None:
    """The first difference that taking some of the data makes, in words; None if it makes none.

    Example:
        >>> import pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(9))
        >>> run = program.record_alone()
        >>> reference, parts = reference_of(program, run), parts_of(program, run)
        >>> difference(reference, parts, RowAccess.ARGUMENTS, stacked=True) is None
        True
    """
    found = (reference.difference(replace(part, access=access), stacked=stacked) for part in parts)
    return next((difference for difference in found if difference is not None), None)


def parts_of(program: BoundProgram, run: SiteRecorder) -> list[Part]:
    """A random half of the data, in random order; of a subsample, half is kept and half is new.

    Of few data, both halves: what comes before or after a datum may be missing in one of them.

    Example:
        >>> import pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(9))
        >>> run = program.record_alone()
        >>> [len(part.places) for part in parts_of(program, run)]
        [5]
    """
    if program.subsample_size is None:
        halves = torch.randperm(program.num_units).tensor_split(2)
        present = [half for half in halves if len(half)]
        return [Part(half, half) for half in present[: 2 if program.num_units < _FEW else 1]]
    drawn = run.subsamples[program.structure.data_plate].cpu()
    places = torch.randperm(len(drawn))
    new = torch.ones(program.num_units, dtype=torch.bool)
    new[drawn] = False
    others = new.nonzero()[:, 0][: len(drawn) // 2]
    kept = places[: len(drawn) - len(others)]
    known = torch.cat([kept, torch.full_like(others, -1)])
    return [Part(known, torch.cat([drawn[kept], others]))]


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
    joint = replace(joint, refusal=program.refusal)
    return _seen_jointly(joint, reference_of(joint, run))


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
    own_plates = structure.num_plates - int(structure.unit is Unit.DATA_SET)
    for site in trace.nodes.values():
        if site["type"] == "sample" and not site_is_subsample(site):
            check_site_shape(site, own_plates)
