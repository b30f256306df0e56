"""Pyro's own guides: the model of an automatic one, and draws of those without weights."""

import torch
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor

from lvkam_pyro.arviz.draws import to_draws
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.sites import is_delta
from lvkam_pyro.tracing.structure import Unit


def own_model(guide: AutoGuide) -> Program:
    """The user's model of an automatic guide.

    It is out of the wrapper in which guides put in its latents' first values.

    Args:
        guide: The guide.
    """
    model: Program = guide.model
    wrapper = getattr(model, "func", None)
    handler, *wrapped = getattr(wrapper, "args", (None,))
    return wrapped[0] if isinstance(handler, InitMessenger) else model


def has_weights(program: BoundProgram, guide: Program) -> bool:
    """Whether a guide has a density for each unit: no latent is one point, none drawn jointly.

    Args:
        program: The program, in its session.
        guide: The guide.
    """
    if isinstance(guide, LibraryGuide):
        return True
    one, other = (program.record_guide_alone(guide).latents for _ in range(2))
    joint = any(program.structure.frame_of(site) is None for site in one.values())
    points = (name for name, site in one.items() if is_delta(site))
    fixed = any(torch.equal(one[name]["value"], other[name]["value"]) for name in points)
    return not fixed and not (joint and program.unit is Unit.DATUM)


def draw_alone(program: BoundProgram, guide: Program, num_draws: int) -> dict[str, Tensor]:
    """Draws of a guide without weights, one by one.

    Args:
        program: The program, in its session.
        guide: The guide.
        num_draws: D.

    Returns:
        Site name to draws `(D, U, *inner plates, *event)`.

    Raises:
        ValueError: If the guide does not draw the model's latents.
    """
    runs = [program.record_guide_alone(guide) for _ in range(num_draws)]
    missing = {site.name for site in program.structure.latents} - runs[0].latents.keys()
    if missing:
        raise ValueError(
            f"The guide does not draw the model's latent sites {sorted(missing)}; it draws "
            f"{sorted(runs[0].latents)}. Add a pyro.sample statement of the same name for each."
        )
    samples = {
        site.name: torch.stack([run.sites[site.name]["value"] for run in runs])
        for site in program.structure.latents
    }
    return to_draws(samples, program.structure)
