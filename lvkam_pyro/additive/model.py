"""Models whose output is a sum of functions of one latent each, with normal noise."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal

from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.distributions.shapes import without_events
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.structure import Unit

_NUM_CHECKS = 16
_LOC_TOLERANCE = 1e-3
_DENSITY_TOLERANCE = 1e-4
_ROUNDING = 1e-5
_OUTLIER_SHARE = 1e-4


@dataclass(frozen=True)
class AdditiveModel:
    r"""A Pyro model, known to be additive in its latents' coordinates.

    .. math:: x_n = c + \sum_{q=1}^{Q} \Phi_q(z_{nq}) + \varepsilon_n, \qquad
              \varepsilon_n \sim N(0, L L'), \qquad z_{nq} \sim p_q

    Found out by running the model, so a hand-written one will do as well as an `LVKAM` with one
    layer of functions: one observed site in the data plate with normal noise, whose mean is a sum
    of functions of one coordinate each and whose noise is the same everywhere.

    Attributes:
        program: The program on one datum, on which it is run.
        coordinates: The latents' coordinates and their priors.
        site: The observed site's name.
        centre: The position around which the functions are measured, `(1, Q)`.
        loc: The mean there, `(O,)` in float64.
        noise: The noise's Cholesky factor L, `(O, O)`, or its diagonal, `(O,)`; in float64.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         loc = torch.stack([z[..., 0], z[..., 0] + z[..., 1] ** 2], -1)
        ...         pyro.sample("x", dist.Normal(loc, 0.1).to_event(1), obs=x)
        >>> additive = AdditiveModel.of(bind(model, torch.zeros(5, 2)))
        >>> additive.functions(torch.full((1, 2), 3.0)).round(decimals=4)
        tensor([[[3., 3.],
                 [0., 9.]]], dtype=torch.float64)
    """

    program: BoundProgram
    coordinates: LatentCoordinates
    site: str
    centre: Tensor
    loc: Tensor
    noise: Tensor

    @classmethod
    def of(cls, program: BoundProgram) -> Self:
        """Find the form and check it at draws from the prior.

        Args:
            program: The bound program.

        Returns:
            The model with its additive form.

        Raises:
            ValueError: If the model has another form; the message says which part of it.
        """
        additive = cls.unchecked(program)
        with program.session(seed=0):
            _check(additive, program)
        return additive

    @classmethod
    def unchecked(cls, program: BoundProgram) -> Self:
        """The form of a program that is known to have it, at its present parameters."""
        if program.unit is Unit.DATA_SET:
            raise ValueError(
                "Expected latents that belong to one datum each, got a model of which only the "
                "data set as a whole has an evidence: its data share latents, or latents act "
                "together. Use Auto, Importance or QuasiMonteCarlo."
            )
        coordinates = LatentCoordinates.of(program)
        centre = ((coordinates.low + coordinates.high) / 2)[None]
        site = _observed(_run(program.first, coordinates, centre))
        noise = _normal(site)
        return cls(
            program=program.first,
            coordinates=coordinates,
            site=site["name"],
            centre=centre,
            loc=_rows(noise.mean)[0],
            noise=_root(noise),
        )

    def functions(self, points: Tensor) -> Tensor:
        r"""The share of each coordinate in the mean: :math:`\Phi_q(z_q) - \Phi_q(c_q)`.

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
        run = _run(self.program, self.coordinates, positions)
        return _rows(run.sites[self.site]["fn"].mean).expand(len(positions), -1)

    def log_likelihood(self, program: BoundProgram, means: Tensor) -> Tensor:
        """The normal density of the data around means `(M, O)`: `(M, N)` in float64."""
        deviation = self.whiten(self.observed(program) - means[:, None])
        return -deviation.square().sum(-1) / 2 - self.log_normaliser

    def observed(self, program: BoundProgram) -> Tensor:
        """The values of the observed site: `(N, O)` in float64."""
        with torch.no_grad():
            return _rows(program.record_alone().sites[self.site]["value"])

    def whiten(self, values: Tensor) -> Tensor:
        """Outputs `(..., O)` in units of the noise: :math:`L^{-1}` times them."""
        if self.noise.ndim == 1:
            return values / self.noise
        flat = values.reshape(-1, values.shape[-1])
        return torch.linalg.solve_triangular(self.noise, flat.T, upper=False).T.view_as(values)

    @property
    def log_normaliser(self) -> Tensor:
        """The log of the normal density's divisor, a scalar."""
        diagonal = self.noise if self.noise.ndim == 1 else self.noise.diagonal()
        return diagonal.log().sum() + len(self.loc) / 2 * math.log(2 * math.pi)


def _run(program: BoundProgram, coordinates: LatentCoordinates, positions: Tensor) -> SiteRecorder:
    """One run of a program on positions `(M, Q)` that all data share."""
    if not program.stacks:
        raise ValueError(
            "The model does not take stacked particles, so its functions cannot be tabulated. Use "
            "Importance or MultistateBAR."
        )
    values = coordinates.split(positions[:, None])
    with torch.no_grad():
        return program.record(program.structure.all_to_pyro(values))


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
    """The observation's distribution, if it is normal with all outputs in its event."""
    noise: Distribution = site["fn"]
    base = without_events(noise)
    if not isinstance(base, FactoredNormal | Normal | MultivariateNormal):
        raise ValueError(
            f"Expected normal noise in an additive model, got {type(base).__name__} at the site "
            f"'{site['name']}'. Give the model a NormalLikelihood, or use another recipe or "
            "estimator: importance sampling or a ladder, which ask for no form."
        )
    if any(size != 1 for size in noise.batch_shape[1:]):
        raise ValueError(
            f"Expected the site '{site['name']}' directly inside the data plate, got the batch "
            f"shape {tuple(noise.batch_shape)}. Declare its outputs as one event by .to_event(...)."
        )
    return noise


def _root(noise: Distribution) -> Tensor:
    """The noise's Cholesky factor `(O, O)`, or its diagonal `(O,)`, from the first of the batch."""
    base = without_events(noise)
    if isinstance(base, MultivariateNormal):
        return base.scale_tril.reshape(-1, *base.scale_tril.shape[-2:])[0].detach().double()
    return _rows(noise.variance)[0].sqrt()


def _rows(values: Tensor) -> Tensor:
    """The outputs of each row of a batch, `(M, O)` in float64: one plate's axes hold all rows."""
    return values.detach().double().reshape(len(values), -1)


def _check(additive: AdditiveModel, program: BoundProgram) -> None:
    """Compare the form with the program itself, at draws from the prior and all data."""
    coordinates = additive.coordinates
    points = coordinates.sample(_NUM_CHECKS)
    means = additive.loc + additive.functions(points).sum(1)
    _check_means(additive, means, additive.mean(points))
    run = _run(program, coordinates, points)
    log_prior = coordinates.log_prob(points).sum(-1, keepdim=True)
    log_likelihood = additive.log_likelihood(program, means)
    for name, sites, expected, offset in (
        ("prior", run.latents, log_prior.expand_as(log_likelihood), 0.0),
        ("likelihood", run.observations, log_likelihood, float(additive.log_normaliser)),
    ):
        error = _relative_error(program, sites, expected, offset)
        if not error < _DENSITY_TOLERANCE:
            raise ValueError(
                f"The model's log {name} differs from that of its additive form by {error:.2g} of "
                "its size: it depends on the datum or on other latents, or a mask or scale is "
                "around it. Use another estimator."
            )


def _relative_error(
    program: BoundProgram, sites: dict[str, Site], expected: Tensor, offset: float
) -> float:
    """The error of the log density of recorded sites, relative to its terms.

    Those are the offset and the rest: their rounding stays where they cancel in the sum. So does
    that of an outlier's, in the data beside it.
    """
    try:
        actual = program.sum(sites, len(expected))
    except ValueError:
        # A draw lies outside of a support that other latents decide.
        return math.inf
    size = 1 + abs(offset) + (expected + offset).abs()
    size = size + _OUTLIER_SHARE * expected.abs().amax()
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
