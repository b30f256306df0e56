"""A look at sums over discrete latents: their terms are the densities at single values."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from pyro.poutine import block
from torch import Tensor
from torch.nn import Module

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.densities import site_log_prob
from lvkam_pyro.tracing.enumeration import largest_size, summed_log_densities
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import DiscreteLatentError, is_discrete, is_summable

_NUM_REDRAWN = 3
"""Runs in which idle latents are drawn anew, lest a redraw be the same by chance."""

_TOLERANCE = 1e-3
"""Of densities in single precision, relative to their size: a wrong axis is far off."""


def look_at_sums(program: BoundProgram, run: SiteRecorder) -> BoundProgram:
    """The program, from a run in which its discrete latents hold all of their values.

    Args:
        program: The program, after all other looks.
        run: Its first run, in which they hold a single one.

    Raises:
        DiscreteLatentError: If the program fails there, or a density at the single values is not
            what it was.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         c = pyro.sample("c", dist.Bernoulli(0.3))
        ...         pyro.sample("x", dist.Normal(c, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(3))
        >>> look_at_sums(program, program.record_alone()).values_per_particle
        6
    """
    names = program.structure.discrete_names
    kept = {name: site["value"] for name, site in run.latents.items() if name not in names}
    shape = (1, program.subsample_size or program.num_units)
    try:
        summed = program.record_alone_summed(SiteRecorder({**run.subsamples, **kept}))
        summed_log_densities(summed, program.structure, shape)
        size = largest_size(summed, program.structure)
        terms = _terms_at(summed, run, program)
    except Exception as error:
        raise DiscreteLatentError(
            f"The model cannot be summed over its discrete latents {sorted(names)}: it fails with "
            f"{type(error).__name__} ({' '.join(str(error).split())}) when they hold all of their "
            "values at once, on further axes on the left. Index and broadcast by them (Vindex), "
            "without branches on their values, as Pyro's enumeration asks for."
        ) from error
    for name, found in terms.items():
        expected = _log_prob(run.sites[name], program)
        if not bool(((found - expected).abs() <= _TOLERANCE * (1 + expected.abs())).all()):
            raise DiscreteLatentError(
                f"The log density of the site '{name}' is {float(expected.sum()):.6g}, but "
                f"{float(found.sum()):.6g} among all values of the discrete latents "
                f"{sorted(names)}: the model mixes their axes. Broadcast over axes on the left."
            )
    return replace(program, values_per_particle=max(size, program.values_per_particle))


def _log_prob(site: Site, program: BoundProgram) -> Tensor:
    """A site's log density; without the masks of a summed one, as the sum takes it."""
    if site["name"] in program.structure.discrete_names:
        log_prob: Tensor = site["fn"].log_prob(site["value"])
        return log_prob
    return site_log_prob(site, program.structure)


def _terms_at(summed: SiteRecorder, run: SiteRecorder, program: BoundProgram) -> dict[str, Tensor]:
    """The log density of each site of a summed run at the values of another run."""
    names = program.structure.discrete_names
    places = {
        summed.sites[name]["infer"]["_dim_to_id"][summed.sites[name]["infer"]["_enumerate_dim"]]: (
            _places(summed.sites[name], run.sites[name]["value"])
        )
        for name in names
    }
    return {name: _term(site, places, program) for name, site in summed.sites.items()}


def _places(site: Site, value: Tensor) -> Tensor:
    """Where a value is among all values of its site, on the axes of the site's plates."""
    event_dim = site["fn"].event_dim
    equal = site["value"] == value
    same = equal.flatten(equal.ndim - event_dim).all(-1) if event_dim else equal
    return same.long().argmax(site["infer"]["_enumerate_dim"], keepdim=True)


def _term(site: Site, places: Mapping[int, Tensor], program: BoundProgram) -> Tensor:
    log_prob = _log_prob(site, program)
    plates = program.structure.num_plates
    for dim, key in site["infer"].get("_dim_to_id", {}).items():
        if -dim <= log_prob.ndim and log_prob.shape[dim] > 1:
            index = places[key]
            own = index.reshape([1] * (log_prob.ndim - index.ndim) + list(index.shape))
            log_prob = log_prob.take_along_dim(own[(0,) * (own.ndim - log_prob.ndim)], dim)
    return log_prob.reshape(log_prob.shape[-plates:] if plates else ())


def without_idle(model: Program, arguments: Arguments, run: SiteRecorder) -> Program | None:
    """The model without discrete latents that cannot be summed and that no density depends on.

    `obs_mask` makes such ones: what was not observed is drawn, and looked at by nobody.

    Args:
        model: The model.
        arguments: Its arguments.
        run: Its first run.

    Returns:
        The model in which nobody sees these sites; None if there is none, or another density is not
        what it was where they are drawn anew.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     idle = pyro.sample("idle", dist.Poisson(3.0))
        ...     pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        >>> arguments = Arguments((torch.tensor(0.0),), {})
        >>> with SiteRecorder() as run:
        ...     model(*arguments.args)
        >>> without = without_idle(model, arguments, run)
        >>> with SiteRecorder() as seen:
        ...     without(*arguments.args)
        >>> list(seen.sites)
        ['x']
    """
    latents = run.latents.items()
    names = [name for name, site in latents if is_discrete(site) and not is_summable(site)]
    kept = {name: site["value"] for name, site in latents if name not in names}
    if not names or isinstance(model, Module):
        return None
    for _ in range(_NUM_REDRAWN):
        with SiteRecorder({**run.subsamples, **kept}) as again:
            model(*arguments.args, **arguments.kwargs)
        others = run.sites.keys() - set(names)
        if again.sites.keys() - set(names) != others:
            return None
        for name in others:
            before, after = (_density_of(each.sites[name]) for each in (run, again))
            if not torch.equal(before, after):
                return None
    return block(model, hide=names)


def _density_of(site: Site) -> Tensor:
    log_prob: Tensor = site["fn"].log_prob(site["value"])
    return log_prob
