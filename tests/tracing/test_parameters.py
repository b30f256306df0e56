"""Every use computes with a module's own parameters, whatever Pyro's store holds of its name."""

from collections.abc import Callable, Iterator
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

import lvkam_pyro as lv
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.parameters import check_parameters, own_parameters
from tests.assertions import assert_within_standard_errors

X = torch.tensor([-1.0, 0.5, 2.0])
LADDER = lv.ladder.Ladder(num_temperatures=8, num_chains=16, num_warmup=30, num_samples=20)
ESTIMATORS = [
    lv.evidence.Importance(2048),
    lv.evidence.ThermodynamicIntegration(LADDER),
    lv.evidence.SteppingStone(LADDER),
]


class Scaled(PyroModule):
    """x = scale z + offset + noise: log p(x) = log N(x; offset, scale^2 + 1)."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale = PyroParam(torch.tensor(scale), dist.constraints.positive)
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.scale * z + self.offset, 1.0), obs=x.flatten())

    def exact(self, x: Tensor = X) -> Tensor:
        variance = self.scale.detach() ** 2 + 1
        return dist.Normal(self.offset.detach(), variance.sqrt()).log_prob(x).double()


class ScaleGuide(PyroModule):
    """A guide whose parameter has the name of the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroParam(torch.tensor(1.5), dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), self.scale))


@pytest.fixture(params=[False, True], ids=["global", "local"])
def module_local(request: pytest.FixtureRequest) -> Iterator[bool]:
    with pyro.settings.context(module_local_params=request.param):
        yield request.param


def snapshot() -> dict[str, Tensor]:
    return dict(pyro.get_param_store().named_parameters())


def assert_same_store(before: dict[str, Tensor]) -> None:
    after = snapshot()
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def assert_exact(evidence: lv.evidence.Evidence, model: Scaled) -> None:
    extra = 0.0 if evidence.discretization_error is None else evidence.discretization_error
    assert_within_standard_errors(
        evidence.log_evidence, model.exact(), 1.4 * evidence.standard_error, extra=extra
    )


@pytest.mark.usefixtures("module_local")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: one.name)
def test_two_instances_have_each_its_own_evidence(estimator: lv.evidence.Estimator) -> None:
    models = {"a": Scaled(0.5), "b": Scaled(3.0)}
    pyro.param("user", torch.ones(2))
    models["a"](X)  # In the global mode it leaves its parameters in the store.
    own = {name: dict(model.named_parameters()) for name, model in models.items()}
    store = snapshot()
    comparison = lv.compare_evidence(models, X, [estimator], progress=False)
    for name, model in models.items():
        assert_exact(estimator.estimate(model, X), model)
        assert_exact(comparison[name, estimator.name], model)
        assert all(own[name][key] is value for key, value in model.named_parameters())
    assert_same_store(store)


@pytest.mark.usefixtures("module_local")
def test_arviz_and_the_amortized_guide_use_the_second_instance_itself() -> None:
    first, second = Scaled(0.1), Scaled(50.0)
    first(X)
    store = snapshot()
    guide = lv.AmortizedGuide(second, X[:, None])
    with pytest.warns(lv.arviz.UnreliablePosteriorWarning):
        groups = lv.to_arviz(second, X, num_draws=50, num_chains=2, num_particles=100)
    bind(second, X)
    assert_same_store(store)
    assert guide.names == ("z",)
    assert groups["prior_predictive"]["x"].std() > 10
    assert float(second.scale.detach()) == pytest.approx(50.0)


def functional(x: Tensor) -> None:
    """The same model as a function of a parameter in the store."""
    scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(scale * z, 1.0), obs=x)


def test_a_function_keeps_its_value_in_the_store() -> None:
    functional(X)
    pyro.get_param_store()["scale"] = torch.tensor(3.0)
    store = snapshot()
    assert_exact(lv.evidence.Importance().estimate(functional, X), Scaled(3.0))
    assert_same_store(store)


def test_a_new_parameter_of_a_function_does_not_leak() -> None:
    assert_exact(lv.evidence.Importance().estimate(functional, X), Scaled(0.5))
    assert not snapshot()


class Holder:
    """A plain object that runs a module."""

    def __init__(self, model: Scaled) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> None:
        self.model(x)

    def run(self, x: Tensor) -> None:
        self.model(x)


def scale_of(model: Scaled, factor: float, x: Tensor) -> None:
    with poutine.scale(scale=factor):
        model(x)


HIDDEN = Scaled(3.0)


def from_this_file(x: Tensor) -> None:
    HIDDEN(x)


WRAPPERS: dict[str, Callable[[Scaled], Callable[[Tensor], None]]] = {
    "function": lambda model: lambda x: model(x),
    "function of a function": lambda model: lambda x: (lambda y: model(y))(x),
    "method": lambda model: model.forward,
    "object": Holder,
    "object's method": lambda model: Holder(model).run,
    "partial": lambda model: partial(scale_of, model, 1.0),
    "handler": lambda model: poutine.scale(model, scale=1.0),
    "global": lambda model: from_this_file,
    "module": lambda model: nn.Sequential(model),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_module_is_found_wherever_it_hides(wrapper: str) -> None:
    Scaled(0.1)(X)
    program = WRAPPERS[wrapper](Scaled(3.0))
    assert_exact(lv.evidence.Importance().estimate(program, X), Scaled(3.0))


def test_one_name_in_model_and_guide_is_refused_and_both_stay_whole() -> None:
    model, guide = Scaled(0.5), ScaleGuide()
    with pytest.raises(ValueError, match="Pyro parameters of one name, scale"):
        lv.evidence.Importance().estimate(model, X, guide=guide)
    assert (float(model.scale.detach()), float(guide.scale.detach())) == pytest.approx((0.5, 1.5))


def test_one_name_in_model_and_guide_is_fine_where_parameters_are_local() -> None:
    with pyro.settings.context(module_local_params=True):
        model, guide = Scaled(0.5), ScaleGuide()
        assert_exact(lv.evidence.Importance().estimate(model, X, guide=guide), model)


def test_an_error_inside_goes_on_and_restores() -> None:
    store = snapshot()
    with pytest.raises(KeyError, match="inside"), own_parameters(Scaled(0.5)):
        pyro.param("other", torch.zeros(2))
        raise KeyError("inside")
    assert_same_store(store)


@pytest.mark.usefixtures("module_local")
@pytest.mark.parametrize("loss", [lv.EmpiricalBayes(64), lv.evidence.Importance(64)])
def test_a_torch_optimizer_trains_the_model_itself(loss: lv.evidence.Estimator) -> None:
    model = Scaled(0.5)
    objective = loss(model, lv.PriorGuide(model))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        objective(5 * X).backward()
        optimizer.step()
    assert float(model.scale.detach()) > 1.0
    assert_exact(lv.evidence.Importance().estimate(model, X), model)


@pytest.mark.parametrize("loss", [lv.EmpiricalBayes(64), lv.evidence.Importance(64)])
def test_svi_trains_one_model(loss: lv.evidence.Estimator) -> None:
    model = Scaled(0.5)
    svi = SVI(model, lv.PriorGuide(model), pyro.optim.Adam({"lr": 0.05}), loss=loss)
    for _ in range(20):
        svi.step(5 * X)
    assert float(model.scale.detach()) > 1.0
    assert_exact(lv.evidence.Importance().estimate(model, X), model)


@pytest.mark.parametrize(
    "loss",
    [lv.EmpiricalBayes(8), lv.evidence.Importance(8), lv.evidence.SteppingStone(LADDER)],
    ids=lambda one: type(one).__name__,
)
def test_training_refuses_a_second_instance(loss: lv.evidence.Estimator) -> None:
    Scaled(0.1)(X)
    model = Scaled(3.0)
    for call in (loss.loss, loss.differentiable_loss, loss.loss_and_grads):
        with pytest.raises(ValueError, match=r"under the names scale.*lvkam_pyro\.fit"):
            call(model, lv.PriorGuide(model), X)
    assert float(model.scale.detach()) == pytest.approx(3.0)


def test_particles_refuse_a_second_instance() -> None:
    Scaled(0.1)(X)
    model = Scaled(3.0)
    with pytest.raises(ValueError, match="under the names scale"):
        lv.draw_particles(model, lv.PriorGuide(model), X, num_particles=8)


def lvkam() -> lv.LVKAM:
    return lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))


def test_svi_refuses_a_second_lvkam_which_a_torch_optimizer_may_train() -> None:
    """Their parameters are `nn.Parameter`: the model computes with its own, SVI trains by name."""
    x = torch.rand(6, 3)
    first, second = lvkam(), lvkam()
    first(x)
    guide = lv.PriorGuide(second)
    svi = SVI(second, guide, pyro.optim.Adam({"lr": 0.05}), loss=lv.EmpiricalBayes(8))
    with pytest.raises(ValueError, match=r"generator\$\$\$.*likelihood\.log_scale"):
        svi.step(x)
    lv.EmpiricalBayes(8)(second, guide)(x).backward()
    assert all(parameter.grad is not None for parameter in second.parameters())


def test_the_check_knows_every_name_that_pyro_gives() -> None:
    model = lvkam()
    model(torch.rand(6, 3))
    check_parameters(model, by_name=True)
    with pytest.raises(ValueError, match="under the names") as refusal:
        check_parameters(lvkam(), by_name=True)
    assert all(name in str(refusal.value) for name in snapshot())


@pytest.mark.parametrize(
    "loss",
    [lv.EmpiricalBayes(64), lv.evidence.Importance(64), lv.evidence.SteppingStone(LADDER)],
    ids=lambda one: type(one).__name__,
)
def test_svi_trains_the_parameter_of_a_function(loss: lv.evidence.Estimator) -> None:
    """Though the search for the model's structure makes and forgets one of its own."""
    svi = SVI(functional, lv.PriorGuide(functional), pyro.optim.Adam({"lr": 0.2}), loss=loss)
    for _ in range(8):
        svi.step(5 * X)
    trained = float(pyro.param("scale").detach())
    assert trained > 1.0
    assert_exact(lv.evidence.Importance().estimate(functional, X), Scaled(trained))


def test_a_lazy_guide_does_not_take_over_anothers_parameters() -> None:
    first, second = Scaled(0.5), Scaled(3.0)
    trained, lazy = AutoNormal(first), AutoNormal(second)
    Trace_ELBO().loss(first, trained, X)
    store, loc = snapshot(), trained.locs.z_unconstrained
    lv.evidence.Importance(64).estimate(second, X, guide=lazy)
    assert_same_store(store)
    assert trained.locs.z_unconstrained is loc
    assert lazy.locs.z_unconstrained is not loc


def test_training_refuses_a_lazy_guide_whose_names_are_taken() -> None:
    trained, lazy = AutoNormal(functional), AutoNormal(functional)
    Trace_ELBO().loss(functional, trained, X)
    with pytest.raises(ValueError, match=r"under the names AutoNormal\.locs\.z"):
        lv.EmpiricalBayes(8).loss(functional, lazy, X)
    lazy(X)  # As the error says: now it is the other one's, by the user's own will.
    assert lv.EmpiricalBayes(8).loss(functional, lazy, X) > 0
