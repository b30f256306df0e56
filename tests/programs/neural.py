"""Programs with networks: autoencoders, modules, networks of random weights, learned priors."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

import lvkam_pyro as lv
from tests.programs.integrals import grid, log_integral
from tests.programs.known import DATUM, Known, normal, zeros_and_ones


def fill(module: nn.Module, seed: int) -> nn.Module:
    """The module with fixed weights of a size that training would give."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(0.8 * normal(seed + number, *parameter.shape))
    return module


class Decoder(nn.Module):
    """The decoder of Pyro's tutorial, a small one."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(z_dim, 5)
        self.fc21 = nn.Linear(5, 6)
        self.softplus = nn.Softplus()

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc21(self.softplus(self.fc1(z))))


class VAE(nn.Module):
    """The autoencoder of Pyro's tutorial, its latent site called `latent`."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.decoder = fill(Decoder(z_dim), 71)
        self.z_dim = z_dim

    def model(self, x: Tensor) -> Tensor:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = x.new_zeros(torch.Size((x.shape[0], self.z_dim)))
            z_scale = x.new_ones(torch.Size((x.shape[0], self.z_dim)))
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder(z)
            likelihood = dist.Bernoulli(loc_img, validate_args=False).to_event(1)
            pyro.sample("obs", likelihood, obs=x.reshape(-1, 6))
            return loc_img

    def evidence(self, x: Tensor) -> Tensor:
        """The trapezoid rule over one or two latents."""
        grids = [grid(-8.0, 8.0, 161)] * self.z_dim
        decoder = self.decoder.double()

        def log_density(*coordinates: Tensor) -> Tensor:
            z = torch.stack(torch.broadcast_tensors(*coordinates), -1)
            log_prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
            probs = decoder(z)[..., None, :]
            return log_prior[..., None] + dist.Bernoulli(probs).log_prob(x.double()).sum(-1)

        with torch.no_grad():
            value = log_integral(log_density, *grids)
        self.decoder.float()
        return value


class SupervisedVAE(nn.Module):
    """Kingma's M2 with two classes: the class is summed where it is not given."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = fill(Decoder(3), 81)

    def model(self, xs: Tensor, ys: Tensor | None = None) -> None:
        pyro.module("ss_vae", self)
        with pyro.plate("data", len(xs)):
            prior = dist.Normal(xs.new_zeros(len(xs), 1), xs.new_ones(len(xs), 1)).to_event(1)
            zs = pyro.sample("z", prior)
            probs = xs.new_tensor([0.3, 0.7]).expand(len(xs), 2)
            label = dist.OneHotCategorical(probs)
            ys = pyro.sample("y", label, obs=ys, infer={"enumerate": "parallel"})
            batch = torch.broadcast_shapes(zs.shape[:-1], ys.shape[:-1])
            joined = torch.cat([zs.expand(*batch, 1), ys.expand(*batch, 2)], -1)
            pyro.sample("x", dist.Bernoulli(self.decoder(joined)).to_event(1), obs=xs)

    def evidence(self, xs: Tensor, ys: Tensor | None = None) -> Tensor:
        """Quadrature over z for both classes, and a sum or a choice."""
        terms = []
        for number, weight in enumerate((0.3, 0.7)):
            one_hot = torch.eye(2)[number]

            def log_density(z: Tensor, one_hot: Tensor = one_hot) -> Tensor:
                joined = torch.cat([z[:, None].float(), one_hot.expand(len(z), 2)], -1)
                log_prob = dist.Bernoulli(self.decoder(joined)[:, None]).log_prob(xs).sum(-1)
                return dist.Normal(0.0, 1.0).log_prob(z)[:, None] + log_prob

            terms.append(math.log(weight) + log_integral(log_density, grid(-8.0, 8.0)))
        both = torch.stack(terms, -1).detach()
        return both.logsumexp(-1) if ys is None else (both * ys).sum(-1)


CONVOLUTION = fill(
    nn.Sequential(
        nn.Linear(1, 4), nn.Unflatten(1, (1, 2, 2)), nn.Upsample(scale_factor=2), nn.Flatten(1)
    ),
    91,
)


def unflattened(x: Tensor) -> None:
    """Images from a network for batches alone: nn.Unflatten counts axes from the left."""
    pyro.module("convolution", CONVOLUTION)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(CONVOLUTION(z), 0.5).to_event(1), obs=x)


def evidence_of_unflattened(x: Tensor) -> Tensor:
    def log_density(z: Tensor) -> Tensor:
        images = CONVOLUTION(z.float()[:, None]).double()[:, None]
        log_prob = dist.Normal(images, 0.5).log_prob(x.double()).sum(-1)
        return dist.Normal(0.0, 1.0).log_prob(z)[:, None] + log_prob

    with torch.no_grad():
        return log_integral(log_density, grid(-8.0, 8.0, 1601))


def indexed_from_the_left(t: Tensor, x: Tensor) -> None:
    """A line whose two numbers are read as z[0] and z[1]."""
    z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z[0] + z[1] * t, 0.5), obs=x)


def evidence_of_a_line(t: Tensor, x: Tensor) -> Tensor:
    covariance = 1.0 + torch.outer(t, t) + 0.25 * torch.eye(len(t))
    return dist.MultivariateNormal(torch.zeros(len(t)), covariance).log_prob(x)


def columns_of_rows(x: Tensor) -> None:
    """A latent vector for each row, of which columns are read as z[:, 0]."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z[:, 0] - 2 * z[:, 1], 0.5), obs=x)


def evidence_of_columns(x: Tensor) -> Tensor:
    return dist.Normal(0.0, 5.25**0.5).log_prob(x)


class BayesianNetwork(PyroModule):
    """A network of one hidden unit, its two weights random."""

    def __init__(self) -> None:
        super().__init__()
        self.first = PyroModule[nn.Linear](1, 1, bias=False)
        self.first.weight = PyroSample(dist.Normal(0.0, 1.5).expand([1, 1]).to_event(2))
        self.second = PyroModule[nn.Linear](1, 1, bias=False)
        self.second.weight = PyroSample(dist.Normal(0.0, 1.5).expand([1, 1]).to_event(2))

    def forward(self, x: Tensor, y: Tensor | None = None) -> None:
        mean = self.second(torch.tanh(self.first(x[:, None]))).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("obs", dist.Normal(mean, 0.4), obs=y)


def evidence_of_network(x: Tensor, y: Tensor) -> Tensor:
    def log_density(first: Tensor, second: Tensor) -> Tensor:
        prior = dist.Normal(0.0, 1.5)
        mean = second[..., None] * torch.tanh(first[..., None] * x.double())
        log_likelihood = dist.Normal(mean, 0.4).log_prob(y.double()).sum(-1)
        return prior.log_prob(first) + prior.log_prob(second) + log_likelihood

    return log_integral(log_density, grid(-13.0, 13.0, 801), grid(-13.0, 13.0, 801))


class LearnedPrior(PyroModule):
    """Rows scatter as a learned prior says, around a line whose slope all of them share."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = lv.MixturePrior(1, num_components=2)
        for number, parameter in enumerate(self.prior.parameters()):
            parameter.data.add_(0.7 * normal(101 + number, *parameter.shape))

    def forward(self, t: Tensor, x: Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(slope * t + z.squeeze(-1), 0.5), obs=x)

    def evidence(self, t: Tensor, x: Tensor) -> Tensor:
        """Quadrature over the latent of each row, inside of one over the slope."""
        prior = self.prior()
        low, high = (
            prior.support.base_constraint.lower_bound,
            prior.support.base_constraint.upper_bound,
        )
        nodes = grid(float(low), float(high), 1203)[1:-1]

        def log_density(slope: Tensor) -> Tensor:
            rest = x.double() - slope[:, None] * t.double()

            def of_row(z: Tensor) -> Tensor:
                log_prior = prior.log_prob(z.float()[:, None]).double()
                log_likelihood = dist.Normal(z[:, None, None], 0.5).log_prob(rest)
                return log_prior[:, None, None] + log_likelihood

            rows = log_integral(of_row, nodes).sum(-1)
            return dist.Normal(0.0, 1.0).log_prob(slope) + rows

        with torch.no_grad():
            return log_integral(log_density, grid(-6.0, 6.0, 301))


ONE_LATENT, TWO_LATENTS = VAE(1), VAE(2)
SUPERVISED, LEARNED = SupervisedVAE(), LearnedPrior()
IMAGES = zeros_and_ones(111, 0.5, 6, 6)
CLASSES = torch.eye(2)[zeros_and_ones(112, 0.5, 6).long()]
LINE = normal(113, 8)

PROGRAMS = [
    Known("VAE of one latent", ONE_LATENT.model, ONE_LATENT.evidence, (IMAGES,), unit=DATUM),
    Known("VAE of two latents", TWO_LATENTS.model, TWO_LATENTS.evidence, (IMAGES,), unit=DATUM),
    Known("VAE with classes", SUPERVISED.model, SUPERVISED.evidence, (IMAGES, CLASSES), unit=DATUM),
    Known("VAE without classes", SUPERVISED.model, SUPERVISED.evidence, (IMAGES,), unit=DATUM),
    Known(
        "unflattened",
        unflattened,
        evidence_of_unflattened,
        (normal(114, 4, 16),),
        unit=DATUM,
        stacks=False,
        slow=True,
    ),
    Known(
        "indexed from the left",
        indexed_from_the_left,
        evidence_of_a_line,
        (LINE, LINE + 0.5 * normal(115, 8)),
        stacks=False,
        slow=True,
    ),
    Known(
        "columns of rows",
        columns_of_rows,
        evidence_of_columns,
        (normal(116, 4),),
        unit=DATUM,
        stacks=False,
        slow=True,
    ),
    Known(
        "Bayesian network",
        BayesianNetwork(),
        evidence_of_network,
        (LINE, (2 * LINE).tanh() + 0.4 * normal(117, 8)),
        stacks=False,
        slow=True,
    ),
    Known("learned prior", LEARNED, LEARNED.evidence, (LINE[:5], LINE[:5] + normal(118, 5))),
]
