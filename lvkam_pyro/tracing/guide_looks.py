"""Looks at a guide: whether it is a density on the model's support, and what rows it takes."""

from dataclasses import replace

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program, RowAccess
from lvkam_pyro.tracing.looks import difference, parts_of
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.proposal import check_names, check_spread, check_supports, check_weights
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.reference import Part, Reference
from lvkam_pyro.tracing.sites import density_mask
from lvkam_pyro.tracing.stacking import reference_of, stacking


def look_at_guide(program: BoundProgram, guide: Program, *, is_density: bool) -> BoundProgram:
    """The program, restricted to what a guide allows, too."""
    run = program.record_guide_alone(guide)
    check_names(run, program.structure)
    reference = replace(reference_of(program, run), program=guide, count=program.runs.add_guide)
    if is_density:
        _check_density(program, guide, run, reference)
    everything = Part(torch.arange(reference.num_units))
    if program.access is None:
        return _stacking_guide(program, reference, everything)
    parts = parts_of(program, run)
    refusal = difference(reference, parts, program.access, stacked=program.stacks)
    if refusal is None:
        return program
    program = _stacking_guide(program, reference, everything)
    for access in RowAccess:
        found = difference(reference, parts, access, stacked=program.stacks)
        if found is None and _allows(program, access):
            return replace(program, access=access)
    return replace(program, access=None, refusal=f"in the guide {refusal}")


def _check_density(
    program: BoundProgram, guide: Program, run: SiteRecorder, reference: Reference
) -> None:
    """A guide's draws have a density, on all of the model's support."""
    check_supports(run.sites, program.structure)
    check_weights(run, _masks(program, run))
    if reference.fixed:
        check_spread(reference.fixed, program.record_guide_alone(guide).sites)


def _masks(program: BoundProgram, run: SiteRecorder) -> dict[str, Tensor]:
    """Where the latents of the model count, if any of them is masked."""
    latents = program.structure.latents
    if not any(site.masked for site in latents):
        return {}
    values = {name: site["value"] for name, site in run.latents.items()}
    sites = program.record_alone(SiteRecorder({**run.subsamples, **values})).sites
    return {site.name: density_mask(sites[site.name]) for site in latents}


def _stacking_guide(program: BoundProgram, reference: Reference, everything: Part) -> BoundProgram:
    """The program after a look at a guide's stacked particles."""
    return stacking(program, reference, everything, "guide") if program.stacks else program


def _allows(program: BoundProgram, access: RowAccess) -> bool:
    """Whether some of the model's data can be taken in a way."""
    if access is program.access:
        return True
    run = program.record_alone()
    reference, parts = reference_of(program, run), parts_of(program, run)
    return difference(reference, parts, access, stacked=program.stacks) is None
