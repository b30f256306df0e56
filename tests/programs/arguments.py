"""One kind of model, called in all the ways in which users call theirs."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

from tests.programs.integrals import log_normal_density
from tests.programs.known import DATUM, Known, counts, normal


def with_covariates(x: Tensor, covariates: Tensor) -> None:
    """The covariates lie along the data plate, which the latents of the rows do, too."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z * covariates[:, 0] + covariates[:, 1]
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def evidence_with_covariates(x: Tensor, covariates: Tensor) -> Tensor:
    scale = (covariates[:, 0] ** 2 + 0.25).sqrt()
    return dist.Normal(covariates[:, 1], scale).log_prob(x)


def covariates_of_a_dict(x: Tensor, more: dict[str, Tensor], *, noise: float) -> None:
    """Covariates in a dictionary, and an option that is no data."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z * more["dose"] + more["time"], noise), obs=x)


def evidence_of_a_dict(x: Tensor, more: dict[str, Tensor], *, noise: float) -> Tensor:
    return evidence_with_covariates(x, torch.stack([more["dose"], more["time"]], -1))


def pair(data: tuple[Tensor, Tensor]) -> None:
    """Data and covariates are one tuple."""
    with_covariates(*data)


def indexed_covariates(x: Tensor) -> None:
    """Covariates that the program holds, looked up by the plate's indices."""
    with pyro.plate("data", len(x)) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z * COVARIATES[index, 0] + COVARIATES[index, 1]
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def subsampled(x: Tensor, covariates: Tensor) -> None:
    """Pyro draws four of the rows in each run, of data and covariates."""
    with pyro.plate("data", len(x), subsample_size=4) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z * covariates[index, 0] + covariates[index, 1]
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x[index])


def optional_data(covariates: Tensor, x: Tensor | None = None) -> Tensor:
    """The data come last, and may be absent: the form that `Predictive` needs."""
    with pyro.plate("data", len(covariates)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z * covariates[:, 0] + covariates[:, 1]
        return pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def evidence_of_optional_data(covariates: Tensor, x: Tensor) -> Tensor:
    return evidence_with_covariates(x, covariates)


def scale(guess: Tensor) -> Tensor:
    """A weight on scales: the program of Pyro's introduction, conditioned from outside."""
    weight = pyro.sample("weight", dist.Normal(guess, 1.0))
    return pyro.sample("measurement", dist.Normal(weight, 0.75))


def evidence_of_scale(guess: Tensor | float) -> Tensor:
    return dist.Normal(torch.as_tensor(guess), 1.5625**0.5).log_prob(torch.tensor(9.5))


def unconditioned() -> None:
    """Nothing is observed by itself; `pyro.condition` says what is."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", 5):
        pyro.sample("x", dist.Normal(mean, 1.0))


def unconditioned_rows() -> None:
    with pyro.plate("data", 5):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5))


def common_mean(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def evidence_of_common_mean(x: Tensor) -> Tensor:
    return log_normal_density(x, 4.0 + torch.eye(len(x)))


def double_mean(x: Tensor) -> None:
    """Everything in double precision."""
    mean = pyro.sample("mean", dist.Normal(x.new_zeros(()), 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, x.new_ones(())), obs=x)


def one_vector(x: Tensor) -> None:
    """A single observed vector, without any plate."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    loc = mean[..., None] + torch.zeros(len(x))
    pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def vector_of_a_plain_loc(x: Tensor) -> None:
    """The same for one particle: the loc expands against the vector."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    pyro.sample("x", dist.Normal(mean, 1.0).expand([len(x)]).to_event(1), obs=x)


def rows_of_one_dimension(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def evidence_of_rows(x: Tensor) -> Tensor:
    return dist.Normal(0.0, 1.25**0.5).log_prob(x)


def integer_counts(x: Tensor) -> None:
    """Counts as integers."""
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(3.0, 1.5))
        pyro.sample("x", dist.Poisson(rate), obs=x)


def evidence_of_integers(x: Tensor) -> Tensor:
    return dist.GammaPoisson(3.0, 1.5).log_prob(x.double())


def with_parameters(x: Tensor) -> None:
    """Parameters of Pyro's store, made by the program itself."""
    shift = pyro.param("shift", torch.tensor(0.5))
    noise = pyro.param("noise", torch.tensor(0.5), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + shift, noise), obs=x)


class ModuleWithParameters(PyroModule):
    """The same as a module, with a parameter of its own and one of the store."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    def forward(self, x: Tensor) -> None:
        shift = pyro.param("shift", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + shift, self.noise), obs=x)


def evidence_of_shifted_rows(x: Tensor) -> Tensor:
    return evidence_of_rows(x - 0.5)


def several_sites(measurements: dict[str, Tensor]) -> None:
    """Data of two kinds in one dictionary: a length and a count of each datum."""
    with pyro.plate("data", len(measurements["length"])):
        size = pyro.sample("size", dist.Gamma(3.0, 1.5))
        pyro.sample("count", dist.Poisson(size), obs=measurements["count"])
        # Exponential lengths of rate 1 / 2 that have nothing to do with the latent.
        pyro.sample("length", dist.Exponential(0.5), obs=measurements["length"])


def evidence_of_several_sites(measurements: dict[str, Tensor]) -> Tensor:
    lengths = dist.Exponential(0.5).log_prob(measurements["length"])
    return evidence_of_integers(measurements["count"]) + lengths


X = normal(61, 8)
COVARIATES = normal(62, 8, 2)
FIVE = normal(63, 5)
DOSE_AND_TIME = {"dose": COVARIATES[:, 0], "time": COVARIATES[:, 1]}
LENGTHS_AND_COUNTS = {"length": normal(64, 6).exp(), "count": counts(65, 2.0, 6)}
WEIGHED = pyro.condition(scale, data={"measurement": torch.tensor(9.5)})

PROGRAMS = [
    Known("covariates", with_covariates, evidence_with_covariates, (X, COVARIATES), unit=DATUM),
    Known(
        "covariates by name",
        with_covariates,
        evidence_with_covariates,
        kwargs={"covariates": COVARIATES, "x": X},
        unit=DATUM,
    ),
    Known(
        "covariates of a dict",
        covariates_of_a_dict,
        evidence_of_a_dict,
        (X, DOSE_AND_TIME),
        {"noise": 0.5},
        unit=DATUM,
    ),
    Known(
        "pair", pair, lambda data: evidence_with_covariates(*data), ((X, COVARIATES),), unit=DATUM
    ),
    Known(
        "covariates by index",
        indexed_covariates,
        lambda x: evidence_with_covariates(x, COVARIATES),
        (X,),
        unit=DATUM,
    ),
    Known("subsampled", subsampled, evidence_with_covariates, (X, COVARIATES), unit=DATUM),
    Known(
        "optional data",
        optional_data,
        evidence_of_optional_data,
        (COVARIATES,),
        {"x": X},
        unit=DATUM,
    ),
    Known("scale", WEIGHED, evidence_of_scale, (torch.tensor(8.5),)),
    Known("scale of a number", WEIGHED, evidence_of_scale, (8.5,)),
    Known(
        "conditioned",
        pyro.condition(unconditioned, data={"x": FIVE}),
        lambda: evidence_of_common_mean(FIVE),
    ),
    Known(
        "conditioned rows",
        pyro.condition(unconditioned_rows, data={"x": FIVE}),
        lambda: evidence_of_rows(FIVE),
        unit=DATUM,
    ),
    Known("common mean", common_mean, evidence_of_common_mean, (FIVE,)),
    Known(
        "common mean of integers",
        common_mean,
        evidence_of_common_mean,
        (counts(66, 2.0, 5).long(),),
    ),
    Known("double precision", double_mean, evidence_of_common_mean, (FIVE.double(),)),
    Known("one vector", one_vector, evidence_of_common_mean, (FIVE,)),
    Known(
        "vector of a plain loc",
        vector_of_a_plain_loc,
        evidence_of_common_mean,
        (FIVE,),
        stacks=False,
        slow=True,
    ),
    Known("one dimension", rows_of_one_dimension, evidence_of_rows, (FIVE,), unit=DATUM),
    Known("one datum", rows_of_one_dimension, evidence_of_rows, (FIVE[:1],), unit=DATUM),
    Known("rows of doubles", rows_of_one_dimension, evidence_of_rows, (FIVE.double(),), unit=DATUM),
    Known(
        "integer counts",
        integer_counts,
        evidence_of_integers,
        (counts(67, 2.0, 5).long(),),
        unit=DATUM,
    ),
    Known("parameters", with_parameters, evidence_of_shifted_rows, (FIVE,), unit=DATUM),
    Known(
        "module with parameters",
        ModuleWithParameters(),
        evidence_of_shifted_rows,
        (FIVE,),
        unit=DATUM,
    ),
    Known(
        "several sites",
        several_sites,
        evidence_of_several_sites,
        (LENGTHS_AND_COUNTS,),
        unit=DATUM,
    ),
]
