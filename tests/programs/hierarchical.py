"""Hierarchical programs: latents shared by groups, crossed, nested, tied, indexed."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.programs.integrals import grid, log_integral, log_normal_density
from tests.programs.known import Known, normal

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(10.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def non_centred_schools(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(10.0))
    with pyro.plate("schools", len(y)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * eta)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def schools_closed_over() -> None:
    eight_schools(Y, SIGMA)


def schools_of_dict(data: dict[str, Tensor]) -> None:
    eight_schools(data["y"], data["sigma"])


def vector_of_schools(y: Tensor, sigma: Tensor) -> None:
    """All effects are one vector, and there is no plate."""
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(10.0))
    effects = dist.Normal(torch.zeros(len(y)), 1.0).to_event(1)
    theta = mu[..., None] + tau[..., None] * pyro.sample("eta", effects)
    pyro.sample("y", dist.Normal(theta, sigma).to_event(1), obs=y)


def evidence_of_schools(y: Tensor, sigma: Tensor) -> Tensor:
    """The effects and mu are integrated in closed form, log tau by quadrature."""

    def log_density(log_tau: Tensor) -> Tensor:
        tau = log_tau.exp()
        covariance = torch.diag_embed(sigma.double() ** 2 + tau[:, None] ** 2) + 100.0
        log_prior = math.log(2 / math.pi / 10) - torch.log1p((tau / 10) ** 2) + log_tau
        mvn = dist.MultivariateNormal(torch.zeros(len(y), dtype=torch.float64), covariance)
        return log_prior + mvn.log_prob(y.double())

    return log_integral(log_density, grid(-25.0, 15.0, 2001))


def evidence_of_these_schools(*_: object, **__: object) -> Tensor:
    return evidence_of_schools(Y, SIGMA)


def crossed_effects(y: Tensor) -> None:
    intercept = pyro.sample("intercept", dist.Normal(0.0, 2.0))
    subjects = pyro.plate("subjects", y.shape[0], dim=-2)
    items = pyro.plate("items", y.shape[1], dim=-1)
    with subjects:
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
    with items:
        difficulty = pyro.sample("difficulty", dist.Normal(0.0, 0.7))
    with subjects, items:
        pyro.sample("y", dist.Normal(intercept + ability - difficulty, 0.5), obs=y)


def evidence_of_crossed_effects(y: Tensor) -> Tensor:
    rows, columns = torch.eye(y.shape[0]), torch.eye(y.shape[1])
    shared = 4.0 + torch.kron(rows, torch.ones(columns.shape))
    covariance = shared + 0.49 * torch.kron(torch.ones(rows.shape), columns)
    return log_normal_density(y.flatten(), covariance + 0.25 * torch.eye(y.numel()))


def nested_groups(y: Tensor) -> None:
    """Readings in groups around a common mean: `(groups, readings)`."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("groups", y.shape[0], dim=-2):
        level = pyro.sample("level", dist.Normal(mean, 1.0))
        with pyro.plate("readings", y.shape[1], dim=-1):
            pyro.sample("y", dist.Normal(level, 0.5), obs=y)


def evidence_of_nested_groups(y: Tensor) -> Tensor:
    same_group = torch.kron(torch.eye(y.shape[0]), torch.ones(y.shape[1], y.shape[1]))
    covariance = 4.0 + same_group + 0.25 * torch.eye(y.numel())
    return log_normal_density(y.flatten(), covariance)


def three_levels(y: Tensor) -> None:
    """Pupils in classes in schools, each level with a latent of its own, scales learned."""
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    with pyro.plate("schools", y.shape[0], dim=-3):
        school = pyro.sample("school", dist.Normal(0.0, spread))
        with pyro.plate("classes", y.shape[1], dim=-2):
            room = pyro.sample("class", dist.Normal(school, 0.5))
            with pyro.plate("pupils", y.shape[2], dim=-1):
                pyro.sample("y", dist.Normal(room, 1.0), obs=y)


def evidence_of_three_levels(y: Tensor) -> Tensor:
    schools, classes, pupils = y.shape
    school = torch.kron(torch.eye(schools), torch.ones(classes * pupils, classes * pupils))
    room = torch.kron(torch.eye(schools * classes), torch.ones(pupils, pupils))
    fixed = 0.25 * room + torch.eye(y.numel())

    def log_density(log_spread: Tensor) -> Tensor:
        spread = log_spread.exp()
        covariance = (fixed + spread[:, None, None] ** 2 * school).double()
        mvn = dist.MultivariateNormal(torch.zeros(y.numel(), dtype=torch.float64), covariance)
        log_prior = dist.HalfNormal(1.0).log_prob(spread) + log_spread
        return log_prior + mvn.log_prob(y.double().flatten())

    return log_integral(log_density, grid(-20.0, 3.0, 1001))


def tied_over_plates(first: Tensor, second: Tensor) -> None:
    """Two experiments of different sizes measure one quantity."""
    shared = pyro.sample("shared", dist.Normal(0.0, 1.0))
    with pyro.plate("first plate", len(first)):
        pyro.sample("first", dist.Normal(shared, 0.5), obs=first)
    with pyro.plate("second plate", len(second)):
        offset = pyro.sample("offset", dist.Normal(shared, 1.0))
        pyro.sample("second", dist.Normal(offset, 0.3), obs=second)


def evidence_of_tied(first: Tensor, second: Tensor) -> Tensor:
    noise = torch.cat([torch.full_like(first, 0.25), torch.full_like(second, 1.09)])
    return log_normal_density(torch.cat([first, second]), 1.0 + torch.diag(noise))


def varying_intercepts(county: Tensor, floor: Tensor, radon: Tensor) -> None:
    """Homes look up the level of their county, as in the radon example."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("counties", 3):
        level = pyro.sample("level", dist.Normal(1.0, 0.8))
    with pyro.plate("homes", len(radon)):
        loc = level[..., county] + slope * floor
        pyro.sample("radon", dist.Normal(loc, 0.6), obs=radon)


def intercepts_by_plain_index(county: Tensor, floor: Tensor, radon: Tensor) -> None:
    """The same as most users write it, which no stack of particles can run through."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("counties", 3):
        level = pyro.sample("level", dist.Normal(1.0, 0.8))
    with pyro.plate("homes", len(radon)):
        pyro.sample("radon", dist.Normal(level[county] + slope * floor, 0.6), obs=radon)


def evidence_of_intercepts(county: Tensor, floor: Tensor, radon: Tensor) -> Tensor:
    same = (county[:, None] == county).float()
    covariance = 0.64 * same + torch.outer(floor, floor) + 0.36 * torch.eye(len(radon))
    return log_normal_density(radon, covariance, 1.0)


AT_BATS = torch.tensor([45.0, 45.0, 45.0, 20.0, 10.0])
HITS = torch.tensor([18.0, 15.0, 9.0, 4.0, 1.0])


def baseball(at_bats: Tensor, hits: Tensor) -> None:
    """Partial pooling of batting averages."""
    mean = pyro.sample("m", dist.Uniform(0.0, 1.0))
    kappa = pyro.sample("kappa", dist.Pareto(1.0, 1.5))
    with pyro.plate("players", len(hits)):
        phi = pyro.sample("phi", dist.Beta(mean * kappa, (1 - mean) * kappa))
        pyro.sample("hits", dist.Binomial(at_bats, phi), obs=hits)


def evidence_of_baseball(at_bats: Tensor, hits: Tensor) -> Tensor:
    """The averages are integrated in closed form, m and kappa by quadrature of their logits."""

    def log_density(logit: Tensor, excess: Tensor) -> Tensor:
        mean, kappa = logit.sigmoid(), 1 + excess.exp()
        log_prior = torch.nn.functional.logsigmoid(logit) + torch.nn.functional.logsigmoid(-logit)
        log_prior = log_prior + dist.Pareto(1.0, 1.5).log_prob(kappa) + excess
        a, b = (mean * kappa)[..., None], ((1 - mean) * kappa)[..., None]
        counts = dist.BetaBinomial(a, b, at_bats.double()).log_prob(hits.double())
        return log_prior + counts.sum(-1)

    return log_integral(log_density, grid(-9.0, 9.0, 301), grid(-25.0, 25.0, 501))


COUNTY = torch.tensor([0, 0, 1, 1, 1, 2, 2])
FLOOR = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
RADON = torch.tensor([0.6, 0.3, 2.0, 1.7, 1.2, -0.2, 1.1])

PROGRAMS = [
    Known("eight schools", eight_schools, evidence_of_schools, (Y, SIGMA)),
    Known(
        "eight schools by name",
        eight_schools,
        evidence_of_schools,
        kwargs={"y": Y, "sigma": SIGMA},
    ),
    Known("eight schools closed over", schools_closed_over, evidence_of_these_schools),
    Known(
        "eight schools of a dict",
        schools_of_dict,
        evidence_of_these_schools,
        ({"y": Y, "sigma": SIGMA, "names": "ABCDEFGH"},),
    ),
    Known("non-centred schools", non_centred_schools, evidence_of_schools, (Y, SIGMA)),
    Known("vector of schools", vector_of_schools, evidence_of_schools, (Y, SIGMA)),
    Known("crossed effects", crossed_effects, evidence_of_crossed_effects, (normal(1, 4, 5),)),
    Known(
        "square crossed effects", crossed_effects, evidence_of_crossed_effects, (normal(2, 4, 4),)
    ),
    Known("nested groups", nested_groups, evidence_of_nested_groups, (1.0 + normal(3, 3, 4),)),
    Known("three levels", three_levels, evidence_of_three_levels, (normal(4, 3, 2, 2),)),
    Known("tied over plates", tied_over_plates, evidence_of_tied, (normal(5, 4), normal(6, 3))),
    Known("varying intercepts", varying_intercepts, evidence_of_intercepts, (COUNTY, FLOOR, RADON)),
    Known(
        "intercepts by plain index",
        intercepts_by_plain_index,
        evidence_of_intercepts,
        (COUNTY, FLOOR, RADON),
        stacks=False,
        slow=True,
    ),
    Known("baseball", baseball, evidence_of_baseball, (AT_BATS, HITS)),
]
