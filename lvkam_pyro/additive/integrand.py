"""The joint density of latents and data as a function of the latents' coordinates."""

from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.tracing.program import BoundProgram

_NUM_CHECKS = 16
_TOLERANCE = 1e-4


class LatentIntegrand:
    r"""Log p(x_n, z) at any positions z of a program whose latents are independent a priori.

    Args:
        program: The bound program.
        coordinates: The latents' coordinates.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> integrand = LatentIntegrand.of(bind(model, torch.zeros(3)))
        >>> integrand(torch.zeros(2, 1, 1))[0]
        tensor([-1.8379, -1.8379, -1.8379], dtype=torch.float64)
    """

    def __init__(self, program: BoundProgram, coordinates: LatentCoordinates) -> None:
        self.program = program
        self.coordinates = coordinates

    @classmethod
    def of(cls, program: BoundProgram) -> Self:
        """Read the coordinates off the program and check them at draws from the prior.

        Args:
            program: The bound program.

        Raises:
            ValueError: If the coordinates are not independent a priori, or their prior depends on
                the datum.
        """
        integrand = cls(program, LatentCoordinates.of(program))
        with program.session(seed=0):
            _check_prior(cls(program.subsample(), integrand.coordinates))
        return integrand

    @property
    def num_units(self) -> int:
        """The number of data."""
        return self.program.num_units

    @property
    def num_values(self) -> int:
        """The number of values that one position of one datum holds in a run of the program."""
        return self.program.values_per_unit

    def __call__(self, positions: Tensor, data: Tensor | None = None) -> Tensor:
        """The log joint density.

        Args:
            positions: `(S, N, Q)`, or `(S, 1, Q)` where all data share them.
            data: The indices of some data, `(N',)`; None: all.

        Returns:
            Log densities `(S, N')` in float64.
        """
        log_prior, log_likelihood = self.log_densities(positions, data)
        return log_prior + log_likelihood

    def log_densities(self, positions: Tensor, data: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The log prior and the log likelihood, `(S, N')` each; see `__call__`."""
        if data is None or len(data) == self.num_units:
            log_prior, log_likelihood = self.program.at(self.coordinates.split(positions))
        elif not self.program.takes_any:
            log_prior, log_likelihood = self._among_all(positions, data)
        else:
            log_prior, log_likelihood = self.program.rows(data).at(
                self.coordinates.split(positions)
            )
        return log_prior.double(), log_likelihood.double()

    def _among_all(self, positions: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """The densities of some data that cannot be taken apart: the others stand still."""
        centre = (self.coordinates.low + self.coordinates.high) / 2
        everywhere = centre.expand(len(positions), self.num_units, -1).clone()
        everywhere[:, data] = positions.to(everywhere)
        log_prior, log_likelihood = self.program.at(self.coordinates.split(everywhere))
        return log_prior[:, data], log_likelihood[:, data]


def _check_prior(integrand: LatentIntegrand) -> None:
    """The model's prior of every datum is the product of the coordinates' own."""
    coordinates = integrand.coordinates
    draws = {
        site.name: prior.sample(torch.Size([_NUM_CHECKS]))
        for site, prior in zip(coordinates.sites, coordinates.priors, strict=True)
    }
    positions = coordinates.join(draws)
    expected = coordinates.log_prob(positions[:, 0]).sum(-1, keepdim=True)
    try:
        actual, _ = integrand.log_densities(positions)
        error = ((actual - expected).abs() / (1 + expected.abs())).amax()
    except ValueError:  # A draw outside of a support that depends on another latent.
        error = torch.tensor(torch.inf)
    if not error < _TOLERANCE:
        names = [site.name for site in coordinates.sites]
        raise ValueError(
            f"The prior of the latent sites {names} is not a product of fixed one-dimensional "
            "densities: it depends on another latent or on the datum. Use "
            "QuasiMonteCarlo, which needs no independence."
        )
