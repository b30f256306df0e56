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
        coordinates = LatentCoordinates.of(program)
        with program.session(seed=0):
            _check_prior(program.subsample(), coordinates)
        return cls(program, coordinates)

    def __call__(self, positions: Tensor, data: Tensor | None = None) -> Tensor:
        """The log joint density.

        Args:
            positions: `(S, N, Q)`, or `(S, 1, Q)` where all data share them.
            data: The indices of some data, `(N',)`; None: all.

        Returns:
            Log densities `(S, N')` in float64.
        """
        program = self.program
        if data is None or len(data) == program.num_units:
            return self._log_joint(program, positions)
        if program.takes_any:
            return self._log_joint(program.rows(data), positions)
        return self._among_all(positions, data)

    def _log_joint(self, program: BoundProgram, positions: Tensor) -> Tensor:
        log_prior, log_likelihood = program.at(self.coordinates.split(positions))
        return log_prior.double() + log_likelihood.double()

    def _among_all(self, positions: Tensor, data: Tensor) -> Tensor:
        """The densities of some data that cannot be taken apart: the others stand still."""
        centre = (self.coordinates.low + self.coordinates.high) / 2
        everywhere = centre.expand(len(positions), self.program.num_units, -1).clone()
        everywhere[:, data] = positions.to(everywhere)
        return self._log_joint(self.program, everywhere)[:, data]


def _check_prior(program: BoundProgram, coordinates: LatentCoordinates) -> None:
    """The model's prior of every datum is the product of the coordinates' own."""
    points = coordinates.sample(_NUM_CHECKS)
    expected = coordinates.log_prob(points).sum(-1, keepdim=True)
    try:
        actual, _ = program.at(coordinates.split(points[:, None]))
        error = ((actual - expected).abs() / (1 + expected.abs())).amax()
    except ValueError:  # A draw outside of a support that depends on another latent.
        error = torch.tensor(torch.inf)
    if not error < _TOLERANCE:
        names = [site.name for site in coordinates.structure.latents]
        raise ValueError(
            f"The prior of the latent sites {names} is not a product of fixed one-dimensional "
            "densities: it depends on another latent or on the datum. Use "
            "QuasiMonteCarlo, which needs no independence."
        )
