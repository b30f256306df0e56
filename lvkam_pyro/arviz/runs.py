"""Many runs of any Pyro program, all at once where its shapes allow it, else one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro
import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.structure import plates

Program = Callable[[], object]
"""A Pyro program with its arguments."""

_TOLERANCE = 1e-3
"""Of a log density in a run of many against the same run alone: a wrong axis is far off."""


class Recorder(SiteRecorder):
    """Records what a program samples, and what it computes by `pyro.deterministic` apart.

    Args:
        values: Site name to the value that the site takes instead of a draw.

    Example:
        >>> with Recorder() as run:
        ...     two = pyro.deterministic("two", torch.tensor(2.0))
        >>> list(run.sites), list(run.computed)
        ([], ['two'])
    """

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(values)
        self.computed: dict[str, Site] = {}

    def _pyro_post_sample(self, msg: Site) -> None:
        super()._pyro_post_sample(msg)
        if msg["infer"].get("_deterministic"):
            self.computed[msg["name"]] = msg


def record(program: Program, values: Mapping[str, Tensor] | None = None) -> Recorder:
    """One run.

    Args:
        program: The program.
        values: Site name to the value that the site takes instead of a draw.
    """
    with Recorder(values) as run:
        program()
    return run


@dataclass(frozen=True)
class Runs:
    """What M runs sampled and computed.

    Attributes:
        values: Name of each site, the deterministic ones among them, to `(M, *its shape)`.
        log_prob: Name of each sampled site to its log density `(M, *its batch shape)`, as the model
            counts it: with the user's scale and mask, and that of plates with a subsample.
    """

    values: dict[str, Tensor]
    log_prob: dict[str, Tensor]

    def total(self) -> Tensor:
        """The sum of all log densities, `(M,)`."""
        terms = [term.reshape(len(term), -1).sum(1) for term in self.log_prob.values()]
        return torch.stack(terms).sum(0)


def run_many(program: Program, num_runs: int, values: Mapping[str, Tensor] | None = None) -> Runs:
    """M runs, each with its own values of some sites.

    They run together inside a plate left of the program's own. A program that takes no further axis
    fails there, or computes something else; so the first and the last run are compared with the
    same alone, and if they differ, every run is done alone.

    Args:
        program: The program.
        num_runs: M.
        values: Site name to values `(M, *its shape)`.

    Raises:
        ValueError: If the program has other sites in other runs.

    Example:
        >>> import pyro.distributions as dist
        >>> def program():
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...     with pyro.plate("data", 5):
        ...         pyro.sample("x", dist.Normal(z @ torch.ones(2), 1.0))
        >>> runs = run_many(program, 100)
        >>> runs.values["z"].shape, runs.log_prob["x"].shape
        (torch.Size([100, 2]), torch.Size([100, 5]))
    """
    values = values or {}
    alone = record(program)
    try:
        together = _run_together(program, alone, num_runs, values)
    except (ValueError, RuntimeError, IndexError, KeyError, TypeError):
        # The program's own tensors do not broadcast against a further axis.
        together = None
    if together is not None and _agrees(program, alone, together, num_runs):
        return together
    return _run_alone(program, num_runs, values)


def _run_together(
    program: Program, alone: Recorder, num_runs: int, values: Mapping[str, Tensor]
) -> Runs:
    nesting = max((-f.dim for site in alone.sites.values() for f in plates(site)), default=0)
    spread = {name: _pad(value, alone.sites.get(name), nesting) for name, value in values.items()}
    with pyro.plate("_runs", num_runs, dim=-(nesting + 1)):
        run = record(program, spread)
    many, one = _run_of(run), _run_of(alone)
    return Runs(
        {n: _flatten(value, one.values[n].shape, num_runs) for n, value in many.values.items()},
        {n: _flatten(term, one.log_prob[n].shape, num_runs) for n, term in many.log_prob.items()},
    )


def _pad(value: Tensor, site: Site | None, nesting: int) -> Tensor:
    """Puts axes for the plates that a site is not in between the runs and its own."""
    if site is None:
        return value
    missing = nesting - len(site["fn"].batch_shape)
    return value.reshape(len(value), *(1,) * missing, *value.shape[1:])


def _flatten(value: Tensor, shape: torch.Size, num_runs: int) -> Tensor:
    """Takes these axes out again; what all runs share is repeated."""
    if value.shape == shape:
        return value.expand(num_runs, *shape)
    return value.reshape(num_runs, *shape)


def _log_prob(site: Site) -> Tensor:
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    scaled: Tensor = scale_and_mask(log_prob, site["scale"], site["mask"])
    return scaled


def _agrees(program: Program, alone: Recorder, together: Runs, num_runs: int) -> bool:
    """Whether the first and the last run, done alone, have the same values and densities."""
    drawn = [name for name, site in alone.sites.items() if not is_point(site)]
    for index in {0, num_runs - 1}:
        run = record(program, {name: together.values[name][index] for name in drawn})
        one = _run_of(run)
        if set(one.values) != set(together.values):
            return False
        pairs = [(one.values[name], value[index]) for name, value in together.values.items()]
        pairs += [(one.log_prob[name], term[index]) for name, term in together.log_prob.items()]
        if not all(_close(*pair) for pair in pairs):
            return False
    return True


def is_point(site: Site) -> bool:
    """Whether a site has but one value, given the others: a Delta, as autoguides draw.

    Args:
        site: Pyro's message.
    """
    fn = site["fn"]
    while not isinstance(fn, Delta) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Delta)


def _run_of(run: Recorder) -> Runs:
    """One run, without an axis of runs."""
    drawn = {name: _expand(site["value"], site["fn"].shape()) for name, site in run.sites.items()}
    computed = {name: site["value"] for name, site in run.computed.items()}
    log_prob = {
        name: _expand(_log_prob(site), site["fn"].batch_shape) for name, site in run.sites.items()
    }
    return Runs(drawn | computed, log_prob)


def _expand(value: Tensor, shape: torch.Size) -> Tensor:
    # Plates expand the laws of the sites that are drawn, not of those whose values are put in.
    return value.expand(torch.broadcast_shapes(value.shape, shape))


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    )


def _run_alone(program: Program, num_runs: int, values: Mapping[str, Tensor]) -> Runs:
    runs = [
        _run_of(record(program, {name: value[index] for name, value in values.items()}))
        for index in range(num_runs)
    ]
    if any(run.values.keys() != runs[0].values.keys() for run in runs):
        raise ValueError(
            "Expected a program with the same sites in every run, but they differ. Only such a "
            "program has draws that can be put beside each other."
        )
    return Runs(
        {name: torch.stack([run.values[name] for run in runs]) for name in runs[0].values},
        {name: torch.stack([run.log_prob[name] for run in runs]) for name in runs[0].log_prob},
    )
