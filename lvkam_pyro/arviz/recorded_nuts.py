"""Pyro's NUTS with a record of every trajectory, which Pyro itself throws away."""

from typing import Any

import torch
from pyro.infer import NUTS
from pyro.poutine.messenger import Messenger
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site

STATISTICS = "sample_stats"
"""The name of the record among the kernel's diagnostics."""


class _Trajectory(Messenger):
    """The draws of one trajectory: its momentum, a direction for each doubling."""

    def __init__(self, kernel: NUTS) -> None:
        super().__init__()
        self.kernel = kernel
        self.kinetic_energy = self.potential_energy = 0.0
        self.num_doublings = 0

    def _pyro_post_sample(self, msg: Site) -> None:
        if msg["name"].startswith("r_t="):
            self.kinetic_energy += float(msg["value"].square().sum()) / 2
            self.potential_energy = float(self.kernel._potential_energy_last)
        elif msg["name"].startswith("direction_t="):
            self.num_doublings += 1


class RecordedNUTS(NUTS):
    r"""`pyro.infer.NUTS`, draw for draw, with what ArviZ wants to know of each trajectory.

    Kept after warm-up, for `to_arviz`: `energy`, the Hamiltonian
    :math:`-\log \pi(u) + \tfrac12 |r|^2` at the start of the trajectory; `tree_depth`, the number
    of doublings tried, and `reached_max_treedepth`; `n_steps`, leapfrog steps; `acceptance_rate`,
    the mean Metropolis probability along the trajectory; `step_size`. With it `az.bfmi` and
    `az.plot_energy` have what they need.

    Args:
        *args: As of `pyro.infer.NUTS`.
        **kwargs: As of `pyro.infer.NUTS`.

    References:
        Betancourt, M. (2016). Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte
        Carlo. https://arxiv.org/abs/1604.00695

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import MCMC
        >>> from lvkam_pyro.arviz.convert import to_arviz
        >>> def model(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
        >>> mcmc = MCMC(RecordedNUTS(model), num_samples=20, warmup_steps=20, disable_progbar=True)
        >>> mcmc.run(torch.zeros(3))
        >>> sorted(to_arviz(mcmc)["sample_stats"].data_vars)  # doctest: +NORMALIZE_WHITESPACE
        ['acceptance_rate', 'diverging', 'energy', 'lp', 'n_steps',
         'reached_max_treedepth', 'step_size', 'tree_depth']
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._num_steps = 0

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """One transition, recorded if the warm-up is over."""
        self._num_steps, step_size = 0, float(self.step_size)
        mean_acceptance = self._mean_accept_prob
        with _Trajectory(self) as trajectory:
            params = super().sample(params)
        num_kept = self._t - self._warmup_steps
        if num_kept > 0:
            # Pyro keeps the running mean over the kept draws alone.
            before = mean_acceptance * (num_kept - 1)
            self._record.append(
                {
                    "energy": trajectory.potential_energy + trajectory.kinetic_energy,
                    "tree_depth": trajectory.num_doublings,
                    "reached_max_treedepth": trajectory.num_doublings >= self._max_tree_depth,
                    "n_steps": self._num_steps,
                    "acceptance_rate": self._mean_accept_prob * num_kept - before,
                    "step_size": step_size,
                }
            )
        return params

    def diagnostics(self) -> dict[str, Any]:
        """Pyro's own, and the record as tensors of one value a draw."""
        columns = {name: [row[name] for row in self._record] for name in self._record[0]}
        record = {name: torch.tensor(values) for name, values in columns.items()}
        return {**super().diagnostics(), STATISTICS: record}

    def _build_basetree(self, *args: Any) -> Any:  # noqa: ANN401
        self._num_steps += 1
        return super()._build_basetree(*args)

    def _reset(self) -> None:
        super()._reset()
        self._record: list[dict[str, float]] = []
