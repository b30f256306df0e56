"""Models whose output is a sum of functions of one latent each, with normal noise."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.tracing.densities import data_scale, sum_log_probs
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.seeding import seeded_rng
from lvkam_pyro.tracing.structure import Model, ModelStructure, record_once

_NUM_CHECKS = 16
_LOC_TOLERANCE = 1e-3
_DENSITY_TOLERANCE = 1e-4
_ROUNDING = 1e-5


@dataclass(frozen=True)
class AdditiveModel:
    r"""A Pyro model, known to be additive in its latents' coordinates.

    .. math:: x_n = c + \sum_{q=1}^{Q} \Phi_q(z_{nq}) + \varepsilon_n, \qquad
              \varepsilon_n \sim N(0, L L'), \qquad z_{nq} \sim p_q

    Found out by running the model, so a hand-written one will do as well as an `LVKAM` with one
    layer of functions: one observed site in the data plate with a normal law, whose mean is a sum
    of functions of one coordinate each and whose noise is the same everywhere.

    Attributes:
        model: The Pyro model.
        structure: Its structure.
        coordinates: The latents' coordinates and their priors.
        site: The observed site's name.
        datum: One datum, on which the model is run, `(1, ...)`.
        centre: The position around which the functions are measured, `(1, Q)`.
        loc: The mean there, `(O,)` in float64.
        noise: The noise's Cholesky factor L, `(O, O)`, or its diagonal, `(O,)`; in float64.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         loc = torch.stack([z[..., 0], z[..., 0] + z[..., 1] ** 2], -1)
        ...         pyro.sample("x", dist.Normal(loc, 0.1).to_event(1), obs=x)
        >>> x = torch.zeros(5, 2)
        >>> additive = AdditiveModel.of(model, x, ModelStructure.of(model, x))
        >>> additive.functions(torch.full((1, 2), 3.0)).round(decimals=4)
        tensor([[[3., 3.],
                 [0., 9.]]], dtype=torch.float64)
    """

    model: Model
    structure: ModelStructure
    coordinates: LatentCoordinates
    site: str
    datum: Tensor
    centre: Tensor
    loc: Tensor
    noise: Tensor

    @classmethod
    def of(cls, model: Model, x: Tensor, structure: ModelStructure) -> Self:
        """Find the form and check it at draws from the prior.

        Args:
            model: The Pyro model.
            x: The observations, of shape `(N, ...)`.
            structure: The model's structure.

        Returns:
            The model with its additive form.

        Raises:
            ValueError: If the model has another form; the message says which part of it.
        """
        additive = cls.unchecked(model, x, structure)
        with torch.no_grad(), seeded_rng(0, x):
            _check(additive, x)
        return additive

    @classmethod
    def unchecked(cls, model: Model, x: Tensor, structure: ModelStructure) -> Self:
        """The form of a model that is known to have it, at its present parameters."""
        coordinates = LatentCoordinates.of(model, x, structure)
        centre = ((coordinates.low + coordinates.high) / 2)[None]
        site = _observed(_run(model, x[:1], structure, coordinates, centre))
        law = _normal(site)
        return cls(
            model=model,
            structure=structure,
            coordinates=coordinates,
            site=site["name"],
            datum=x[:1],
            centre=centre,
            loc=_rows(law.mean)[0],
            noise=_noise(law),
        )

    def functions(self, points: Tensor) -> Tensor:
        r"""What each coordinate adds to the mean: :math:`\Phi_q(z_q) - \Phi_q(c_q)`.

        Args:
            points: A point of each coordinate, `(M, Q)`.

        Returns:
            The functions' values `(M, Q, O)` in float64; 0 at the centre.
        """
        num_coordinates = self.coordinates.num_coordinates
        chosen = torch.eye(num_coordinates, dtype=torch.bool, device=points.device)
        positions = torch.where(chosen, points.double()[:, None], self.centre)
        means = self.mean(positions.flatten(0, 1))
        return means.unflatten(0, (-1, num_coordinates)) - self.loc

    def mean(self, positions: Tensor) -> Tensor:
        """The mean of the observation at positions `(M, Q)`: `(M, O)` in float64."""
        run = _run(self.model, self.datum, self.structure, self.coordinates, positions)
        return _rows(run.sites[self.site]["fn"].mean).expand(len(positions), -1)

    def log_likelihood(self, x: Tensor, means: Tensor) -> Tensor:
        """The normal density of the data around means `(M, O)`: `(M, N)` in float64."""
        deviation = self.whiten(self.observed(x) - means[:, None])
        return -deviation.square().sum(-1) / 2 - self.log_normaliser

    def observed(self, x: Tensor) -> Tensor:
        """What the model observes of the data: `(N, O)` in float64."""
        return _rows(record_once(self.model, x).sites[self.site]["value"])

    def data_scale(self, x: Tensor) -> float:
        """The data plate's full size divided by its size, for a batch `x`."""
        return data_scale(record_once(self.model, x).sites[self.site], self.structure)

    def whiten(self, values: Tensor) -> Tensor:
        """Outputs `(..., O)` in units of the noise: :math:`L^{-1}` times them."""
        if self.noise.ndim == 1:
            return values / self.noise
        flat = values.reshape(-1, values.shape[-1])
        return torch.linalg.solve_triangular(self.noise, flat.T, upper=False).T.view_as(values)

    @property
    def log_normaliser(self) -> Tensor:
        """The log of the normal density's divisor, a scalar."""
        return self.log_volume + len(self.loc) / 2 * math.log(2 * math.pi)

    @property
    def log_volume(self) -> Tensor:
        """The log determinant of L, a scalar."""
        diagonal = self.noise if self.noise.ndim == 1 else self.noise.diagonal()
        return diagonal.log().sum()


class AdditiveReader:
    """Reads a model's additive form again and again, as its parameters move.

    Args:
        model: The Pyro model.

    Raises:
        ValueError: When called, if the model is not additive; it is checked at the first call.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
        >>> AdditiveReader(model)(torch.zeros(5)).coordinates.num_coordinates
        1
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._structure: ModelStructure | None = None

    def __call__(self, x: Tensor) -> AdditiveModel:
        """The form at the present parameters, for data `x` of shape `(N, ...)`."""
        if self._structure is not None:
            return AdditiveModel.unchecked(self.model, x, self._structure)
        self._structure = ModelStructure.of(self.model, x)
        return AdditiveModel.of(self.model, x, self._structure)


def _run(
    model: Model,
    x: Tensor,
    structure: ModelStructure,
    coordinates: LatentCoordinates,
    positions: Tensor,
) -> SiteRecorder:
    """One run of the model on positions `(M, Q)` that all data share."""
    values = coordinates.split(positions[:, None])
    run = SiteRecorder(
        {site.name: structure.to_pyro(values[site.name], site) for site in structure.latents}
    )
    with torch.no_grad(), run:
        model(x)
    return run


def _observed(run: SiteRecorder) -> Site:
    """The only observed site."""
    names = list(run.observations)
    if len(names) != 1:
        raise ValueError(
            f"Expected one observed site in an additive model, got {names}. Observe all outputs "
            "in one pyro.sample statement, or use another estimator."
        )
    return run.observations[names[0]]


def _normal(site: Site) -> Distribution:
    """The law of the observation, if it is normal with all outputs in its event."""
    law: Any = site["fn"]
    base = law
    while isinstance(base, Independent):
        base = base.base_dist
    if not isinstance(base, FactoredNormal | Normal | MultivariateNormal):
        raise ValueError(
            f"Expected normal noise in an additive model, got {type(base).__name__} at the site "
            f"'{site['name']}'. Give the model a NormalLikelihood, or use another recipe or "
            "estimator: importance sampling or a ladder, which ask for no form."
        )
    if any(size != 1 for size in law.batch_shape[1:]):
        raise ValueError(
            f"Expected the site '{site['name']}' directly inside the data plate, got the batch "
            f"shape {tuple(law.batch_shape)}. Declare its outputs as one event by .to_event(...)."
        )
    return law


def _noise(law: Any) -> Tensor:  # noqa: ANN401
    """The noise's Cholesky factor `(O, O)`, or its diagonal `(O,)`, from the first of the batch."""
    base = law
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, MultivariateNormal):
        return base.scale_tril.reshape(-1, *base.scale_tril.shape[-2:])[0].detach().double()
    return _rows(law.variance)[0].sqrt()


def _rows(values: Tensor) -> Tensor:
    """The outputs of each row of a batch, `(M, O)` in float64: one plate's axes hold all rows."""
    return values.detach().double().reshape(len(values), -1)


def _check(additive: AdditiveModel, x: Tensor) -> None:
    """Compare the form with the model itself, at draws from the prior and all data."""
    coordinates, structure = additive.coordinates, additive.structure
    draws = [prior.sample(torch.Size([_NUM_CHECKS])) for prior in coordinates.priors]
    named = {site.name: draw for site, draw in zip(coordinates.sites, draws, strict=True)}
    points = coordinates.join(named)[:, 0]
    means = additive.loc + additive.functions(points).sum(1)
    _check_means(additive, means, additive.mean(points))
    run = _run(additive.model, x, structure, coordinates, points)
    shape = (_NUM_CHECKS, len(x))
    log_prior = coordinates.log_prob(points).sum(-1, keepdim=True)
    for name, sites, expected, offset in (
        ("prior", run.latents, log_prior, 0.0),
        (
            "likelihood",
            run.observations,
            additive.log_likelihood(x, means),
            float(additive.log_normaliser),
        ),
    ):
        error = _relative_error(sites, structure, expected.expand(shape), offset)
        if not error < _DENSITY_TOLERANCE:
            raise ValueError(
                f"The model's log {name} differs from that of its additive form by {error:.2g} of "
                "its size: it depends on the datum or on other latents, or a mask or scale is "
                "around it. Use another estimator."
            )


def _relative_error(
    sites: dict[str, Site], structure: ModelStructure, expected: Tensor, offset: float
) -> float:
    """How far the log density of recorded sites is from what it should be, beside its terms.

    Those are the offset and the rest: their rounding stays where they cancel in the sum.
    """
    try:
        actual = sum_log_probs(sites, structure, (len(expected), expected.shape[1]))
    except ValueError:
        # A draw lies outside of a support that other latents decide.
        return math.inf
    size = 1 + abs(offset) + (expected + offset).abs()
    return float(((actual - expected).abs() / size).amax())


def _check_means(additive: AdditiveModel, means: Tensor, actual: Tensor) -> None:
    error = additive.whiten(means - actual).abs().amax()
    # Functions in single precision, added up, are rounded in proportion to their size.
    rounding = additive.whiten(actual.abs().amax(0)).abs().amax() * _ROUNDING
    if not error < _LOC_TOLERANCE + rounding:
        raise ValueError(
            f"The mean of '{additive.site}' is no sum of functions of one latent each: it differs "
            f"from one by {error:.2g} standard deviations of the noise. Only a model with one "
            "layer of functions and no output nonlinearity has this form; use another estimator."
        )
