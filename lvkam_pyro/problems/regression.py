"""Linear regressions of unknown noise on groups of patients: evidence in closed form."""

import math

import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

from lvkam_pyro.problems.problem import Answered

_NUM_DATA = 4
_GROUP_SIZE = 20
_FEATURES = ("bmi", "bp", "s5")
_SHAPE, _RATE, _VARIANCE = 3.0, 2.0, 1.0


class ConjugateRegression:
    r"""A linear regression for each group, with coefficients and noise of its own.

    .. math:: \sigma_n^2 \sim \mathrm{InverseGamma}(a, b), \qquad
              \beta_n \sim N(0, \sigma_n^2 v I), \qquad y_n \sim N(X_n \beta_n, \sigma_n^2 I)

    so that :math:`y_n` is multivariate Student's t with 2a degrees of freedom and scale matrix
    :math:`(b / a)(I + v X_n X_n')` (Murphy 2012, Machine Learning, section 7.6.3). The response is
    the first column of a datum `(group size, 1 + features)`, the features are the others.

    Example:
        >>> ConjugateRegression().log_evidence(torch.zeros(1, 20, 4).double()).shape
        torch.Size([1])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the groups x (N, group size, 1 + features)."""
        response, features = x[..., 0], x[..., 1:]
        with pyro.plate("data", len(x)):
            prior = dist.InverseGamma(x.new_tensor(_SHAPE), x.new_tensor(_RATE))
            scale = pyro.sample("variance", prior).sqrt()[..., None]
            zeros = x.new_zeros(features.shape[-1])
            beta = pyro.sample("beta", dist.Normal(zeros, _VARIANCE**0.5 * scale).to_event(1))
            loc = (features @ beta[..., None])[..., 0]
            pyro.sample("y", dist.Normal(loc, scale).to_event(1), obs=response)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(y_n | X_n), `(N,)`."""
        response, features = x[..., 0], x[..., 1:]
        size = x.shape[1]
        kernel = torch.eye(size).to(x) + _VARIANCE * features @ features.mT
        root = torch.linalg.cholesky(kernel)
        white = torch.linalg.solve_triangular(root, response[..., None], upper=False)[..., 0]
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        last = _SHAPE + size / 2
        constant = math.lgamma(last) - math.lgamma(_SHAPE) - size / 2 * math.log(2 * math.pi)
        rate = _RATE + white.square().sum(-1) / 2
        return constant + _SHAPE * math.log(_RATE) - last * rate.log() - log_det


def conjugate_regression() -> Answered:
    """Four groups of twenty patients of scikit-learn's diabetes data.

    The disease's progression after a year by body mass index, blood pressure and a serum value,
    all standardised over all patients, and a constant.

    Example:
        >>> conjugate_regression()[1].shape
        torch.Size([4, 20, 5])
    """
    table = load_diabetes(as_frame=True, scaled=False).frame[["target", *_FEATURES]]
    values = torch.tensor(table.to_numpy(), dtype=torch.float64)
    values = (values - values.mean(0)) / values.std(0)
    values = torch.cat([values, torch.ones(len(values), 1).double()], -1)
    x = values[: _NUM_DATA * _GROUP_SIZE].unflatten(0, (_NUM_DATA, _GROUP_SIZE))
    model = ConjugateRegression()
    return model, x, model.log_evidence(x)
