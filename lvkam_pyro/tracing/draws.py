"""Draws from a posterior that somebody has already, in a bound program's layout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pyro.infer import MCMC
from torch import Tensor

from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site


def read_draws(source: object, program: BoundProgram) -> dict[str, Tensor]:
    """The draws of all latents of a program, inside of its session.

    Args:
        source: A `pyro.infer.MCMC` that was run; a mapping from site to draws, tensors or arrays,
            `(C, D, *shape)` or, of one chain, `(D, *shape)` with the shape that the site has in the
            program, `(*plates, *event)`; or an object of ArviZ with a group `posterior`. Other
            variables than the latents are left aside.
        program: The program.

    Returns:
        Site name to draws `(D, C, U, *inner plates, *event)`.

    Raises:
        TypeError: If the source is none of these.
        ValueError: If a site is missing, has another shape, other numbers of draws than the rest,
            or values that are not finite; or the program sees only some of its data.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> read_draws({"mean": torch.zeros(4, 100)}, program)["mean"].shape
        torch.Size([100, 4, 1])
    """
    if program.subsample_size not in (None, program.num_units):
        raise ValueError(
            f"The plate '{program.structure.data_plate}' subsamples {program.subsample_size} of "
            f"{program.num_units} data, so no draws are of all of them. Build the model without "
            "subsample_size."
        )
    run, (groups, has_chains) = program.record_alone(), _groups(source)
    sites = {site.name: run.sites[site.name] for site in program.structure.latents}
    missing = sorted(sites.keys() - groups.keys())
    if missing:
        raise ValueError(
            f"Expected draws of all latent sites of the model, but {missing} are missing among "
            f"{sorted(groups)}. Draw them too, under the sites' names."
        )
    draws = {name: _by_chain(site, groups[name], has_chains) for name, site in sites.items()}
    counts = {name: tuple(values.shape[:2]) for name, values in draws.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(
            f"Expected as many draws of every site, got (chains, draws) {counts}. Pass the draws "
            "of one run."
        )
    flat = {name: values.transpose(0, 1).flatten(0, 1) for name, values in draws.items()}
    num_chains, num_draws = next(iter(counts.values()))
    return {
        name: values.unflatten(0, (num_draws, num_chains))
        for name, values in program.structure.arrange(flat).items()
    }


def _groups(source: object) -> tuple[Mapping[str, Any], bool]:
    """The draws by the sites' names, and whether chains are known to have an axis."""
    if isinstance(source, MCMC):
        if source._samples is None:
            raise ValueError("Expected an MCMC that was run, got one without draws. Call its run.")
        return source.get_samples(group_by_chain=True), True
    posterior = getattr(source, "posterior", None)
    if posterior is not None:
        variables = posterior.data_vars
        arrays = {name: variables[name].transpose("chain", "draw", ...) for name in variables}
        return {name: array.values for name, array in arrays.items()}, True
    if isinstance(source, Mapping):
        return source, False
    raise TypeError(
        "Expected draws as a pyro.infer.MCMC that was run, a mapping from site to draws, or an "
        f"object of ArviZ with a posterior, got {type(source).__name__}."
    )


def _by_chain(site: Site, values: Any, has_chains: bool) -> Tensor:  # noqa: ANN401
    """The finite draws of a site, `(C, D, *shape)`, in the precision of the program."""
    found = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    shape = tuple(site["value"].shape)
    num_lead = 2 if has_chains else found.ndim - len(shape)
    if num_lead not in (1, 2) or _sizes(found.shape[num_lead:]) != _sizes(shape):
        raise ValueError(
            f"Expected draws of '{site['name']}' of shape (chains, draws, *{shape}) or (draws, "
            f"*{shape}), got {tuple(found.shape)}. Keep the site's own axes, plates before event."
        )
    num_bad = int((~found.isfinite()).sum())
    if num_bad:
        raise ValueError(
            f"Expected finite draws of '{site['name']}', got {num_bad} of {found.numel()} values "
            "that are not. Find out why the sampler made them, or leave these draws out."
        )
    num_chains = found.shape[0] if num_lead == 2 else 1
    return found.detach().to(site["value"]).reshape(num_chains, found.shape[num_lead - 1], *shape)


def _sizes(shape: Sequence[int]) -> list[int]:
    """The sizes of axes but those of size 1, which some formats leave out."""
    return [size for size in shape if size != 1]
