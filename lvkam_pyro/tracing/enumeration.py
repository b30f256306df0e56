"""Discrete latents, summed exactly: all of their values run side by side and are contracted."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from lvkam_pyro.tracing.chains import Named, sum_over_chain
from lvkam_pyro.tracing.densities import axes_message, per_unit, site_log_prob
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import plates
from lvkam_pyro.tracing.structure import ProgramStructure

_PARTICLES, _UNITS = "_particles", "_units"
"""The names of the axes of particles and units among those of plates."""


class AllValues(EnumMessenger):
    """Gives discrete latents all of their values, on axes left of the particles.

    Values that a recorder inside has put in stay. `pyro.markov` keeps the number of axes small.

    Args:
        structure: The program's structure, which names the latents.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     c = pyro.sample("c", dist.Bernoulli(0.3))
        ...     return pyro.sample("x", dist.Normal(c, 1.0), obs=torch.tensor(0.0))
        >>> with SiteRecorder() as once:
        ...     _ = model()
        >>> with AllValues(ProgramStructure.of(once, None)), SiteRecorder() as run:
        ...     _ = model()
        >>> run.sites["c"]["value"].flatten()
        tensor([0., 1.])
    """

    def __init__(self, structure: ProgramStructure) -> None:
        super().__init__(structure.particle_dim - 1)
        self.names = structure.discrete_names

    def _pyro_sample(self, msg: Site) -> None:
        given = msg["done"]
        summed = msg["name"] in self.names and not given
        msg["infer"] = {**msg["infer"], "enumerate": "parallel" if summed else None}
        # Pyro skips what is done, but the density of a given value may hang on discrete ones.
        msg["done"] = False
        super()._pyro_sample(msg)
        msg["done"] = msg["done"] or given

    def _pyro_post_sample(self, msg: Site) -> None:
        # As Pyro's own, which reads `value.data`: torch.vmap forbids that.
        if not isinstance(msg["fn"], TorchDistributionMixin) or msg["value"] is None:
            return
        name, value = msg["name"], msg["value"]
        shape = value.shape[: value.ndim - msg["fn"].event_dim]
        ids = msg["infer"].setdefault("_dim_to_id", {})
        ids.update(self._param_dims.get(name, {}))
        in_value = {d for d in ids if -d <= len(shape) and shape[d] > 1}
        self._value_dims[name] = {d: ids[d] for d in ids if d in in_value}


def summed_log_densities(
    run: SiteRecorder, structure: ProgramStructure, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    r"""Log p(z) and log p(x | z) of a run in which discrete latents c hold all of their values.

    .. math:: \log p(z) = \log \sum_c p(c, z), \qquad \log p(x | z) = \log \sum_c p(x, c, z) -
        \log p(z)

    by tensor variable elimination (Obermeyer et al. 2019), in a time that grows linearly with the
    length of a Markov chain under `pyro.markov`. Discrete sites that hold a single given value
    count among z. A mask on a summed site is left aside: its values sum to one in any case.

    Args:
        run: The run, under `AllValues`.
        structure: The program's plates.
        shape: The number of particles and of units `(S, U)`.

    Returns:
        Two tensors `(S, U)`.

    Raises:
        ValueError: If a summed density is scaled, has axes that belong to no plate, or the plates
            are crossed in a way that no sum can be taken of.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     c = pyro.sample("c", dist.Bernoulli(0.5))
        ...     return pyro.sample("x", dist.Normal(c, 1.0), obs=torch.tensor(0.5))
        >>> with SiteRecorder() as once:
        ...     _ = model()
        >>> structure = ProgramStructure.of(once, None)
        >>> with AllValues(structure), SiteRecorder() as run:
        ...     _ = model()
        >>> summed_log_densities(run, structure, (1, 1))
        (tensor([[0.]]), tensor([[-1.0439]]))
    """
    factors = Factors.of(run, structure, shape)
    summed = {name for name, site in run.sites.items() if _is_summed(site)}
    latents = [name for name in run.latents if name not in summed]
    if not any(factors.depend_on_sums(name) for name in latents):
        return factors.total(latents), factors.total([n for n in run.sites if n not in latents])
    log_prior = factors.total([*latents, *summed])
    log_likelihood = factors.total(list(run.sites)) - log_prior
    return log_prior, log_likelihood.where(log_prior > -torch.inf, -torch.inf)


def largest_size(run: SiteRecorder, structure: ProgramStructure) -> int:
    """The number of values of the largest log density of a run under `AllValues`.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run:
        ...     x = pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=torch.tensor(0.5))
        >>> largest_size(run, ProgramStructure.of(run, None))
        1
    """
    return max(site_log_prob(site, structure).numel() for site in run.sites.values())


@dataclass(frozen=True)
class Factors:
    """The log densities of the sites of a run, each with names for its axes.

    Attributes:
        sites: The sites.
        log_probs: Site name to its log density, in Pyro's layout.
        structure: The program's plates.
        shape: `(S, U)`.
        symbols: Of plates by name and of summed axes by Pyro's number, for einsum.
    """

    sites: Mapping[str, Site]
    log_probs: Mapping[str, Tensor]
    structure: ProgramStructure
    shape: tuple[int, int]
    symbols: dict[str | int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, run: SiteRecorder, structure: ProgramStructure, shape: tuple[int, int]
    ) -> "Factors":
        """The factors of a recorded run."""
        log_probs = {name: _log_prob(site, structure) for name, site in run.sites.items()}
        return cls(run.sites, log_probs, structure, shape)

    def depend_on_sums(self, name: str) -> bool:
        """Whether a site's density depends on a latent that is summed."""
        return self.log_probs[name].ndim > -self.structure.particle_dim

    def total(self, names: Collection[str]) -> Tensor:
        """The log density of some sites, summed over the discrete latents among them, `(S, U)`."""
        total = self.log_probs[next(iter(self.log_probs))].new_zeros(())
        for name in names:
            if not self.depend_on_sums(name):
                total = total + per_unit(self.log_probs[name], self.sites[name], self.structure)
        joint = [name for name in names if self.depend_on_sums(name)]
        sums = self._contract(joint, self._kept) if joint else 0.0
        return (total + sums).expand(self.shape)

    def by_site(self) -> dict[str, Tensor]:
        """The log densities of single sites over their plates, in Pyro's layout.

        Of sites that share a sum there is that of the only observed one, if all are in its plates.
        """
        each = {n: value for n, value in self.log_probs.items() if not self.depend_on_sums(n)}
        for names in self._sharing_sums():
            observed = [name for name in names if self.sites[name]["is_observed"]]
            frames = {frozenset(plates(self.sites[name])) for name in names}
            if len(observed) == len(frames) == 1:
                own = sorted(plates(self.sites[observed[0]]), key=lambda frame: frame.dim)
                axes = {_PARTICLES: self.shape[0], **{frame.name: frame.size for frame in own}}
                summed, dims = self._contract(names, axes), [frame.dim for frame in own]
                sizes = dict(zip(dims, summed.shape[1:], strict=True))
                inner = [sizes.get(d, 1) for d in range(self.structure.particle_dim + 1, 0)]
                each[observed[0]] = summed.reshape(-1, *inner)
        return each

    def _sharing_sums(self) -> list[list[str]]:
        """The sites that depend on discrete latents, in groups that share none with each other."""
        groups: list[tuple[set[str | int], list[str]]] = []
        for name in filter(self.depend_on_sums, self.log_probs):
            keys = {key for d, key in self._axes(name).items() if d < self.structure.particle_dim}
            shared = [group for group in groups if group[0] & keys]
            groups = [group for group in groups if not group[0] & keys]
            groups.append(
                (keys.union(*(k for k, _ in shared)), [n for _, g in shared for n in g] + [name])
            )
        return [names for _, names in groups]

    def _contract(self, names: Collection[str], sizes: Mapping[str, int]) -> Tensor:
        """The log density of some sites, summed over discrete latents, over the given axes."""
        plated = {self._symbol(frame.name) for n in names for frame in plates(self.sites[n])}
        plated |= {self._symbol(_PARTICLES), self._symbol(_UNITS)}
        factors = [self._named(name) for name in names]
        axes = [self._symbol(name) for name, size in sizes.items() if size > 1]
        sums = {symbol for symbols, _ in factors for symbol in symbols} - plated
        along_chain = sum_over_chain(factors, sums, "".join(axes))
        if along_chain is not None:
            wanted = [size for size in sizes.values() if size > 1]
            return along_chain.expand(wanted).reshape(list(sizes.values()))
        tree: OrderedDict[frozenset[str], list[Any]] = OrderedDict()
        for factor in factors:
            term = self._packed(*factor)
            tree.setdefault(frozenset(plated & set(term._pyro_dims)), []).append(term)
        try:
            found: Any = contract_to_tensor(tree, sums, frozenset(axes), ring=LogRing())
        except NotImplementedError as error:
            raise ValueError(
                f"The sites {sorted(names)} cannot be summed over their discrete latents at a "
                f"bearable cost ({error}). Sum them by hand, or nest their plates."
            ) from error
        ordered: Tensor = found.permute([found._pyro_dims.index(axis) for axis in axes])
        return ordered.reshape(list(sizes.values()))

    @property
    def _kept(self) -> dict[str, int]:
        return dict(zip((_PARTICLES, _UNITS), self.shape, strict=True))

    def _symbol(self, key: str | int) -> str:
        key = _UNITS if key == self.structure.data_plate else key
        return self.symbols.setdefault(key, chr(ord("a") + len(self.symbols)))

    def _named(self, name: str) -> Named:
        """A site's log density without axes of size 1, and the symbols of the others."""
        log_prob, keys = self.log_probs[name], self._axes(name)
        found = [keys[d] for d in range(-log_prob.ndim, 0) if log_prob.shape[d] > 1]
        return "".join(map(self._symbol, found)), log_prob.squeeze()

    def _packed(self, found: str, log_prob: Tensor) -> Any:  # noqa: ANN401
        """The log density on all particles and units, as Pyro packs it."""
        kept = {self._symbol(key): size for key, size in self._kept.items() if size > 1}
        missing = [symbol for symbol in kept if symbol not in found]
        sizes = [kept[symbol] for symbol in missing]
        packed: Any = log_prob.expand(*sizes, *log_prob.shape)[...]
        packed._pyro_dims = "".join([*missing, found])
        return packed

    def _axes(self, name: str) -> dict[int, str | int]:
        """The name of each axis of a site's log density that is not of size 1."""
        site, log_prob, structure = self.sites[name], self.log_probs[name], self.structure
        keys: dict[int, str | int] = {frame.dim: frame.name for frame in plates(site)}
        keys = {d: _UNITS if d == structure.data_dim else key for d, key in keys.items()}
        keys |= {structure.particle_dim: _PARTICLES, **site["infer"].get("_dim_to_id", {})}
        used = [d for d in range(-log_prob.ndim, 0) if log_prob.shape[d] > 1]
        if any(d not in keys for d in used):
            raise ValueError(axes_message(site, log_prob.shape))
        return keys


def _is_summed(site: Site) -> bool:
    return site["infer"].get("_enumerate_dim") is not None


def _log_prob(site: Site, structure: ProgramStructure) -> Tensor:
    """A site's log density without the data's scale, and without the masks of a summed one."""
    if _is_summed(site):
        return site["fn"].log_prob(site["value"])
    log_prob = site_log_prob(site, structure)
    scale = site["scale"] / structure.data_scale(site)
    if log_prob.ndim > -structure.particle_dim and not _is_one(scale):
        raise ValueError(
            f"The site '{site['name']}' depends on a discrete latent and has a scale around it, "
            "so there is no sum over that latent. Remove poutine.scale, or the subsample."
        )
    return log_prob


def _is_one(scale: float | Tensor) -> bool:
    return bool((torch.as_tensor(scale, dtype=torch.float64) - 1).abs().max() < 1e-9)
