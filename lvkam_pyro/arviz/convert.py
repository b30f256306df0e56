"""To ArviZ: posterior, predictions, weights and evidence as one labelled, saveable object.

The only file that knows which ArviZ is installed: before 1.0 its object is `InferenceData`, since
then it is xarray's `DataTree`. The groups are the same.
"""

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, cast

import arviz as az
import xarray as xr
from numpy.typing import ArrayLike
from pyro.infer import MCMC, SVI
from pyro.infer.autoguide import AutoGuide
from torch import Tensor

from lvkam_pyro.arviz.datasets import Coords, Dims, Groups, constant_group, label_groups
from lvkam_pyro.arviz.evidence import comparison_groups, evidence_groups
from lvkam_pyro.arviz.particles import (
    autoguide_groups,
    fit_groups,
    ladder_groups,
    model_groups,
    particle_groups,
    svi_groups,
)
from lvkam_pyro.arviz.samples import dict_groups, mcmc_groups
from lvkam_pyro.arviz.weights import warn_of_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.training.loop import Fit

_from_datatree: Callable[[xr.DataTree], Any] = getattr(az, "from_datatree", lambda tree: tree)


@singledispatch
def arviz_groups(source: object, *args: Any, **options: Any) -> Any:  # noqa: ANN401
    """The groups that `to_arviz` makes of an object, before they are labelled and joined.

    Register a function for a class of your own and `to_arviz` takes its instances.

    Args:
        source: The object to convert.
        *args: The arguments of the model, where the source needs them.
        **options: Those of this kind of source.

    Returns:
        `Groups`, or for a source of several models `Groups` by the models' names.

    Raises:
        TypeError: If there is no conversion of such an object.

    Example:
        >>> import torch, xarray as xr
        >>> class Coin:
        ...     heads = torch.rand(4, 100)
        >>> @arviz_groups.register
        ... def coin_groups(source: Coin):
        ...     heads = (("chain", "draw"), source.heads)
        ...     return {"posterior": xr.Dataset({"heads": heads})}
        >>> arviz_groups(Coin())["posterior"]["heads"].sizes["draw"]
        100
    """
    raise TypeError(
        "Expected a model, bound program, fit, Particles, LadderSamples, Evidence, "
        "EvidenceComparison, Pyro's MCMC, SVI or AutoGuide, or a dictionary of draws, got "
        f"{type(source).__name__}. "
        "Draws of other libraries go by arviz.from_dict, classes of your own by "
        "arviz_groups.register."
    )


# Pyro programs are functions and modules alike; the more special classes below come first.
arviz_groups.register(cast("type[Any]", Callable), model_groups)
arviz_groups.register(BoundProgram, model_groups)
arviz_groups.register(Fit, fit_groups)
arviz_groups.register(Particles, particle_groups)
arviz_groups.register(LadderSamples, ladder_groups)
arviz_groups.register(Evidence, evidence_groups)
arviz_groups.register(EvidenceComparison, comparison_groups)
arviz_groups.register(Mapping, dict_groups)
arviz_groups.register(MCMC, mcmc_groups)
arviz_groups.register(SVI, svi_groups)
arviz_groups.register(AutoGuide, autoguide_groups)


def to_arviz(
    source: object,
    *args: object,
    coords: Coords | None = None,
    dims: Dims | None = None,
    constant_data: Mapping[str, ArrayLike | Tensor] | None = None,
    **options: object,
) -> Any:  # noqa: ANN401 - InferenceData or DataTree, by the version of ArviZ
    """The posterior of each datum's latents and all that belongs to it, for ArviZ.

    ============================= ==============================================================
    source                        arguments, and options with their defaults
    ============================= ==============================================================
    a model, a bound program      the model's arguments; `guide=None` (the prior), `ladder=None`,
                                  `evidence=None`, `num_draws=500`, `num_chains=4`,
                                  `num_particles=1000`, `resampled=True`, `seed=0`
    `Fit`                         the data; those of a model, its guide being the fit's
    `Particles`                   none; `evidence`, `num_draws`, `num_chains`, `seed`
    `LadderSamples` (a ladder)    none; `evidence`, `seed`
    `Evidence`                    none; `num_draws`, `num_chains`, `seed`
    `EvidenceComparison`          the same; gives an object for each model, in a dictionary, as
                                  `az.compare` takes them
    `pyro.infer.MCMC`             none, or other arguments of its model than those of its `run`;
                                  `evidence`, `num_particles`, `seed`
    a dictionary of draws         none, or the model's arguments with `model=`; `num_chains=None`
                                  (draws `(chains, draws, ...)`), `evidence`, `num_particles`,
                                  `seed`
    `pyro.infer.SVI`, `AutoGuide` those of a model; its guide's draws are not resampled
    ============================= ==============================================================

    The posterior is made of equally weighted draws, as all of ArviZ's statistics expect. Weighted
    particles are resampled, for each datum by itself and in random order; each chain has particles
    of its own, so that `az.rhat` and `az.ess` show a guide that missed the posterior. How many of
    the particles count is in the group `importance`; where Pareto k is above 0.7 there is a
    warning. The draws of a ladder at temperature 1 are kept chain for chain.

    Further keyword arguments are the model's. A bound program may stand for a model and its
    arguments, wherever these are expected.

    Axes are called as the model's plates are; a datum's latents have the axis `latent`, its outputs
    `output`; further axes of an event `{site}_dim_{i}`, and so are all of a model with latents that
    the data share. A site that has the name of an axis, such as `draw`, is the variable `draw_`.
    `az.summary` takes some 20 ms a scalar and predictions take memory: pass a few
    dozen data, not all.

    Where latents belong to a datum, what is left without the datum is the prior: ArviZ's LOO-PIT,
    which reweights the posterior's predictions, has nothing to go by. Use `lv.checks.loo_pit`.

    Args:
        source: The object to convert.
        *args: The arguments of the model: mostly the data `(N, ...)`.
        coords: Names of the entries along an axis, as in ArviZ: `{"data": names}`.
        dims: Other names for a variable's axes, as in ArviZ, those of chain and draw left out:
            `{"z": ["person", "trait"]}`.
        constant_data: Covariates and the like, kept beside the observed data.
        **options: See the table. `guide` proposes the particles; `ladder` is a `LadderSamples` of
            the same data, and `evidence` an `Evidence` or an `EvidenceComparison` of this model and
            the same data. The caller's random state stays as it was.

    Returns:
        `arviz.InferenceData` before ArviZ 1.0, `xarray.DataTree` since, with those of the groups
        that the source can fill:

        - `posterior`, `posterior_predictive`, `prior`, `prior_predictive`, `observed_data`,
          `constant_data`;
        - `log_likelihood`: where latents belong to a datum, the MARGINAL log p(x), with these
          integrated out, where `az.loo` and `az.compare` look. Its draws are of the sampling
          distribution of its estimate: of `evidence` (of several, the reliable one of least
          error), else of steppingstone on the ladder, else of importance sampling with the guide.
          `conditional_log_likelihood` holds log p(x|z) for each draw;
        - `log_prior`: log p(z) for each draw;
        - `sample_stats`, of MCMC and wherever all data share latents: `lp`, the log joint
          density; of MCMC `diverging`;
        - `proposal` and `importance`, of weighted particles: the particles, log weights, plain and
          Pareto smoothed; ESS, Pareto k and log evidence a datum;
        - `power_posterior` and `power_sample_stats`, of a ladder: log likelihoods at all
          temperatures; acceptance, step sizes, swap rates;
        - `thermodynamic`, of a ladder or evidence: the curve, and each estimator's log evidence.

    Raises:
        TypeError: If there is no conversion of such a source, or an argument is of the wrong type.
        ValueError: If a count is below 1, the data are not finite, the ladder or evidence is of
            other data, a datum has no particle of positive weight, the model has no log density
            for each datum, or `coords` or `dims` name what there is not.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> x = torch.zeros(3, 2)
        >>> idata = to_arviz(model, x, num_draws=50, coords={"data": ["a", "b", "c"]})
        >>> dict(idata["posterior"]["z"].sizes)
        {'chain': 4, 'draw': 50, 'data': 3, 'latent': 2}

        Weighted particles, or a ladder, alone; with a model a ladder is its option `ladder`:

        >>> particles = lv.draw_particles(model, lv.PriorGuide(model), x, num_particles=4000)
        >>> to_arviz(particles)["importance"]["pareto_k"].sizes["data"]
        3
        >>> ladder = lv.ladder.Ladder(num_temperatures=4, num_samples=20).sample(model, x)
        >>> to_arviz(ladder)["power_posterior"]["log_likelihood"].sizes["temperature"]
        4
        >>> to_arviz(model, x, ladder=ladder)["posterior_predictive"]["x"].sizes["output"]
        2

        Estimates of the evidence, a model each:

        >>> comparison = lv.compare_evidence({"one": model}, x, [lv.evidence.Importance(256)])
        >>> to_arviz(comparison)["one"]["posterior"]["log_evidence"].dims
        ('chain', 'draw', 'estimator', 'data')

        Pyro's own samplers and guides, on any of its models:

        >>> from pyro.infer import MCMC, NUTS
        >>> from pyro.infer.autoguide import AutoNormal
        >>> def schools(y):
        ...     mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        ...     with pyro.plate("school", len(y)):
        ...         theta = pyro.sample("theta", dist.Normal(mu, 5.0))
        ...         pyro.sample("y", dist.Normal(theta, 10.0), obs=y)
        >>> y = torch.tensor([28.0, 8.0, -3.0])
        >>> mcmc = MCMC(NUTS(schools), num_samples=20, warmup_steps=20, disable_progbar=True)
        >>> mcmc.run(y)
        >>> idata = to_arviz(mcmc, coords={"school": ["A", "B", "C"]})
        >>> idata["posterior"]["theta"].dims, idata["log_likelihood"]["y"].dims
        (('chain', 'draw', 'school'), ('chain', 'draw', 'school'))
        >>> guide = AutoNormal(model, init_scale=0.7)
        >>> to_arviz(guide, x)["posterior"].attrs["sampler"]
        'variational guide'
    """
    groups = arviz_groups(source, *args, **options)
    constants = {"constant_data": constant_group(constant_data)} if constant_data else {}
    return _finish(groups, constants, coords or {}, dims or {})


def _finish(groups: Any, constants: Groups, coords: Coords, dims: Dims) -> Any:  # noqa: ANN401
    """ArviZ's object of the groups, or of each model's groups."""
    if not all(isinstance(group, xr.Dataset) for group in groups.values()):
        return {name: _finish(each, constants, coords, dims) for name, each in groups.items()}
    warn_of_weights(groups)
    labelled = label_groups({**groups, **constants}, coords, dims)
    filled = {name: group for name, group in labelled.items() if group.data_vars}
    return _from_datatree(xr.DataTree.from_dict(filled))
