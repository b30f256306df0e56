"""Looks at particles: whether they can be stacked, or mapped over, or run one by one."""

import warnings
from dataclasses import replace

from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.reference import Part, Reference


class StackingWarning(UserWarning):
    """A program that cannot take stacked particles, and runs on them one by one.

    Example:
        >>> issubclass(StackingWarning, UserWarning)
        True
    """


def reference_of(program: BoundProgram, run: SiteRecorder) -> Reference:
    """A run of a program as the reference of other runs.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(9))
        >>> run = program.record_alone()
        >>> reference_of(program, run).num_units
        9
    """
    return Reference.of(
        program.model,
        program.arguments,
        program.structure,
        run.sites,
        num_units=program.subsample_size or program.num_units,
        num_rows=program.num_units,
        count=program.runs.add_model,
    )


def stacking(
    program: BoundProgram, reference: Reference, everything: Part, whose: str = "model"
) -> BoundProgram:
    """The program after a look at stacked particles of its model, or of its guide.

    Warns by `StackingWarning` where it does not take them.

    Raises:
        ValueError: If the density is no function of the latents.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(9))
        >>> run = program.record_alone()
        >>> everything = Part(torch.arange(9))
        >>> stacking(program, reference_of(program, run), everything).stacks
        True
    """
    stacked = reference.difference(everything, stacked=True)
    if stacked is None:
        return program
    # Twice: a program may change from run to run, back and forth.
    again = (reference.difference(everything, stacked=False) for _ in range(2))
    alone = next((found for found in again if found is not None), None)
    if alone is not None:
        raise ValueError(
            f"The {whose}'s density is not a function of its latents: at the same latents {alone}. "
            f"Draw what is random by pyro.sample, and call {whose}.eval() where it has dropout."
        )
    program = replace(program, stacks=False)
    mapped = replace(program, maps=True)
    if reference.program is program.model and _maps(mapped, reference, everything):
        return mapped
    warnings.warn(
        f"The {whose} does not take stacked particles ({stacked} among other particles), so it "
        "runs on them one by one, which is slow, for torch.vmap does not map it over them either. "
        "Write it for values with a further axis on the left: z[..., 0], .sum(-1), broadcasting.",
        StackingWarning,
        stacklevel=5,
    )
    return program


def _maps(mapped: BoundProgram, reference: Reference, everything: Part) -> bool:
    """Whether runs on one particle, mapped over particles, give what single ones give."""
    try:
        # The known particle between two others, so that neither end passes for all.
        runs = [mapped.record_alone(SiteRecorder(v)) for v in ({}, reference.values, {})]
        latents = mapped.values_of(runs, mapped.structure.sites)
        (found,) = mapped.runs_at(mapped.structure.all_to_pyro(latents))
    except Exception:
        return False  # It branches on values, or torch cannot map what it does.
    return reference.compare(found.sites, everything, stacked=True) is None
