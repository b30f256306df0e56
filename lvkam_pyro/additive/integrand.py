"""The joint density of latents and data as a function of the latents' coordinates."""

from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.tracing.densities import data_scale, sum_log_probs
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model, ModelStructure

_NUM_CHECKS = 16
_TOLERANCE = 1e-4


class LatentIntegrand:
    r"""Log p(x_n, z) at any positions z of a model whose latents are independent a priori.

    Args:
        model: The Pyro model.
        x: The observations, of shape `(N, ...)`.
        structure: The model's structure.
        coordinates: The latents' coordinates.

    Attributes:
        data_scale: The data plate's full size divided by its size.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> integrand = LatentIntegrand.of(model, x, ModelStructure.of(model, x))
        >>> integrand(torch.zeros(2, 1, 1))[0]
        tensor([-1.8379, -1.8379, -1.8379], dtype=torch.float64)
    """

    def __init__(
        self, model: Model, x: Tensor, structure: ModelStructure, coordinates: LatentCoordinates
    ) -> None:
        self.model = model
        self.x = x
        self.structure = structure
        self.coordinates = coordinates
        self.data_scale = 1.0

    @classmethod
    def of(cls, model: Model, x: Tensor, structure: ModelStructure) -> Self:
        """Read the coordinates off the model and check them at draws from the prior.

        Args:
            model: The Pyro model.
            x: The observations, of shape `(N, ...)`.
            structure: The model's structure.

        Raises:
            ValueError: If the coordinates are not independent a priori, or their prior depends on
                the datum.
        """
        integrand = cls(model, x, structure, LatentCoordinates.of(model, x, structure))
        with torch.no_grad(), seeded_rng(0, x):
            _check_prior(integrand)
        return integrand

    @property
    def num_data(self) -> int:
        """The number of data N."""
        return len(self.x)

    @property
    def num_values(self) -> int:
        """Values that one position of one datum holds in a run of the model."""
        return self.x[0].numel() + self.coordinates.num_coordinates

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
        x = self.x if data is None or len(data) == len(self.x) else self.x[data]
        values = self.coordinates.split(positions)
        run = SiteRecorder(
            {
                site.name: self.structure.to_pyro(values[site.name], site)
                for site in self.structure.latents
            }
        )
        with run:
            self.model(x)
        shape = (len(positions), len(x))
        if len(x) == len(self.x):
            self.data_scale = data_scale(next(iter(run.sites.values())), self.structure)
        return (
            sum_log_probs(run.latents, self.structure, shape).double(),
            sum_log_probs(run.observations, self.structure, shape).double(),
        )


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
