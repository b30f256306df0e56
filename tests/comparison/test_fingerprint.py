"""What a result is found again by: all that a program reads, and nothing that its use writes."""

import functools
import importlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pandas import DataFrame
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import lvkam_pyro as lv
from lvkam_pyro.comparison._fingerprint import UnrecognizableError, fingerprint
from lvkam_pyro.comparison.compare import EvidenceTask

ROOT = Path(__file__).parent.parent.parent
X = torch.tensor([0.3, -1.0])

PROGRAM = """
import pyro
import pyro.distributions as dist
import torch

import {name}_helpers as helpers
from {name}_helpers import spread

SCALE = 1.0
LAYER = torch.nn.Linear(1, 1)
torch.nn.init.ones_(LAYER.weight)
torch.nn.init.zeros_(LAYER.bias)


class Decoder(torch.nn.Module):
    def forward(self, z):
        return z * helpers.FACTOR


DECODER = Decoder()


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        loc = DECODER(LAYER(z[..., None])[..., 0])
        pyro.sample("x", dist.Normal(SCALE * loc, spread()), obs=x)
"""

HELPERS = """
FACTOR = 1.0
UNUSED = 1.0
WIDTH = 1.0


def spread():
    return WIDTH
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A model in a file of its own, which reads globals, helpers and modules."""
    name = f"program_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PROGRAM.format(name=name))
    (tmp_path / f"{name}_helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The estimators that ran."""
    ran: list[str] = []
    original = EvidenceTask.run

    def counted(self: EvidenceTask) -> object:
        for found in original(self):
            ran.append(found.evidence.estimator)
            yield found

    monkeypatch.setattr(EvidenceTask, "run", counted)
    return ran


def compare(model: object, folder: Path, **given: object) -> lv.comparison.EvidenceComparison:
    estimators = [lv.evidence.Importance(16)]
    return lv.compare_evidence(model, X, estimators, folder=folder, progress=False, **given)


def other_spread() -> float:
    """A helper with other code."""
    return 1.5


def other_forward(self: nn.Module, z: Tensor) -> Tensor:
    """A method with other code."""
    return 2.0 * z


CHANGES: dict[str, Callable[[ModuleType], object]] = {
    "a global number": lambda one: setattr(one, "SCALE", 2.0),
    "a helper function": lambda one: setattr(one, "spread", other_spread),
    "a global that a helper reads": lambda one: setattr(one.helpers, "WIDTH", 2.0),
    "a number of an imported module": lambda one: setattr(one.helpers, "FACTOR", 2.0),
    "the weights of a global module": lambda one: nn.init.zeros_(one.LAYER.weight),
    "the code of a global module's class": lambda one: setattr(
        one.Decoder, "forward", other_forward
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_what_a_model_reads_is_estimated_anew(
    change: str, program: ModuleType, tmp_path: Path, estimated: list[str]
) -> None:
    before = compare(program.model, tmp_path / "kept")["model", "Importance"]
    CHANGES[change](program)
    after = compare(program.model, tmp_path / "kept")["model", "Importance"]
    assert len(estimated) == 2
    assert after.total != before.total


def test_change_of_what_a_guide_reads_is_estimated_anew(
    program: ModuleType, tmp_path: Path, estimated: list[str]
) -> None:
    guide = pyro.poutine.block(program.model, hide=["x"])
    for width, runs in ((1.0, 1), (1.0, 1), (2.0, 2)):
        program.helpers.WIDTH = width
        compare(program.model, tmp_path / "kept", guide=guide)
        assert len(estimated) == runs


def test_what_a_model_does_not_read_does_not_count(
    program: ModuleType, tmp_path: Path, estimated: list[str]
) -> None:
    for unused in (1.0, 2.0):
        program.helpers.UNUSED = unused
        compare(program.model, tmp_path / "kept")
    assert len(estimated) == 1


def test_fresh_process_finds_the_same_name(program: ModuleType, tmp_path: Path) -> None:
    """Of a function and of a trained module, though hash seeds and hook ids differ."""
    script = f"""
import pyro, torch, {program.__name__} as program
from lvkam_pyro.comparison._fingerprint import fingerprint
other = pyro.nn.PyroModule[torch.nn.Linear](2, 2)
print(fingerprint(program.model), fingerprint(torch.load("module.pt", weights_only=False)))
"""
    module = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    torch.save(module, tmp_path / "module.pt")
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert done.stdout.split() == [fingerprint(program.model), fingerprint(module)]


def test_comparison_in_a_fresh_process_reuses_results(
    program: ModuleType, tmp_path: Path, estimated: list[str]
) -> None:
    script = f"""
import torch, lvkam_pyro as lv, {program.__name__} as program
x, estimators = torch.tensor([0.3, -1.0]), [lv.evidence.Importance(16)]
lv.compare_evidence(program.model, x, estimators, folder="kept", progress=False)
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )  # fmt: skip
    compare(program.model, tmp_path / "kept")
    assert not estimated


def test_use_leaves_the_name_as_it_is() -> None:
    """Estimates, traces and somebody else's fit write into a module, and are no change of it."""
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    x = torch.rand(8, 3)
    guide = lv.AmortizedGuide(model, x)
    before = fingerprint((model, guide))
    lv.evidence.Importance(16).estimate(model, x, guide=guide)
    lv.evidence.SteppingStone(
        lv.ladder.Ladder(num_temperatures=3, num_chains=4, num_warmup=2, num_samples=4)
    ).estimate(model, x)
    pyro.poutine.trace(model).get_trace(x)
    assert fingerprint((model, guide)) == before
    lv.fit(model, x, lv.load_recipe("importance", num_epochs=1, batch_size=4), progress=False)
    assert fingerprint((model, guide)) != before


def test_modules_of_equal_content_have_one_name() -> None:
    """Though the second has other ids of hooks, and its tensors lie elsewhere."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return pyro.nn.PyroModule[nn.Linear](2, 2)

    assert fingerprint(make()) == fingerprint(make())
    changed = make()
    changed.register_forward_hook(lambda module, inputs, output: 2 * output)
    assert fingerprint(changed) != fingerprint(make())


def test_functions_are_told_apart_by_what_they_enclose() -> None:
    def make(value: object) -> Callable[[], object]:
        return lambda: value

    assert fingerprint(make(1.0)) == fingerprint(make(1.0))
    assert fingerprint(make(1.0)) != fingerprint(make(2.0))
    layers = [nn.Linear(1, 1) for _ in range(2)]
    assert fingerprint(make(layers[0])) != fingerprint(make(layers[1]))
    one, other = (functools.partial(make, value) for value in (1, 2))
    assert fingerprint(one) != fingerprint(other)
    cached = [functools.lru_cache(make(value)) for value in (1, 2)]
    assert fingerprint(cached[0]) != fingerprint(cached[1])


def test_tensors_are_told_apart_by_type_and_shape() -> None:
    zeros = torch.zeros(2)
    assert fingerprint(zeros) != fingerprint(zeros.double())
    assert fingerprint(zeros) != fingerprint(zeros[:, None])
    assert fingerprint(zeros) == fingerprint(torch.zeros(2, 2)[:, 0])
    assert fingerprint(zeros.bfloat16()) != fingerprint(torch.ones(2).bfloat16())


DISTRIBUTIONS: dict[str, Callable[[float], object]] = {
    "normal": lambda value: dist.Normal(value, 1.0),
    "Bernoulli": dist.Bernoulli,
    "Bernoulli by logits": lambda value: dist.Bernoulli(logits=torch.tensor(value)),
    "geometric, whose parameter is a lazy property": dist.Geometric,
    "multivariate": lambda value: dist.MultivariateNormal(torch.zeros(2), value * torch.eye(2)),
    "transformed": lambda value: dist.LogNormal(value, 1.0),
    "a frame": lambda value: DataFrame({"x": [value]}),
    "an array": lambda value: np.full(2, value),
    "a generator of NumPy": lambda value: np.random.default_rng(int(100 * value)),
    "a partial function": lambda value: functools.partial(dist.Normal, value),
    "a model with priors on weights": lambda value: Regression(value),
    "an autoguide": lambda value: AutoNormal(Regression(0.5), init_scale=value),
    "a trained autoguide": lambda value: trained(AutoNormal(Regression(0.5), init_scale=value)),
}


class Regression(pyro.nn.PyroModule):
    """A model in Pyro's own idiom."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.linear = pyro.nn.PyroModule[nn.Linear](1, 1)
        self.linear.weight = pyro.nn.PyroSample(dist.Normal(0.0, scale).expand([1, 1]).to_event(2))

    def forward(self, x: Tensor) -> None:
        loc = self.linear(x[:, None])[:, 0]
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def trained(guide: AutoNormal) -> AutoNormal:
    """A guide that has been used."""
    guide(X)
    return guide


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_values_inside_objects_count(kind: str) -> None:
    one, other = (DISTRIBUTIONS[kind](value) for value in (0.2, 0.9))
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


def test_attribute_that_a_text_names_counts(program: ModuleType) -> None:
    def read() -> object:
        return getattr(program.helpers, "WIDTH")  # noqa: B009

    before = fingerprint(read)
    program.helpers.WIDTH = 2.0
    assert fingerprint(read) != before


def test_circles_end() -> None:
    circle: list[object] = [1]
    circle.append(circle)
    assert fingerprint(circle) == fingerprint(circle)


UNRECOGNIZABLE: dict[str, Callable[[], object]] = {
    "a lock": threading.Lock,
    "a generator": lambda: (value for value in ()),
    "a module of the user": lambda: sys.modules[__name__],
    "a sparse tensor": lambda: torch.eye(2).to_sparse(),
    "an import that fails": lambda: failing_import,
    "a function that reads any global": lambda: reads_anything,
}


def reads_anything(name: str) -> object:
    """Reads a global that nobody knows before."""
    return globals()[name]


def failing_import() -> None:
    """Imports what there is not."""
    import no_such_package  # noqa: F401, PLC0415


@pytest.mark.parametrize("kind", UNRECOGNIZABLE)
def test_what_cannot_be_named_is_refused(kind: str) -> None:
    with pytest.raises(UnrecognizableError, match=r"it (holds|imports|calls)"):
        fingerprint(UNRECOGNIZABLE[kind]())


def test_model_that_cannot_be_recognised_is_estimated_anew_and_said(
    program: ModuleType, tmp_path: Path, estimated: list[str]
) -> None:
    program.SCALE = threading.local()
    program.SCALE.value = 1.0

    def model(x: Tensor) -> None:
        assert program.SCALE.value
        vars(program).update(SCALE=1.0)
        try:
            program.model(x)
        finally:
            vars(program).update(SCALE=lock)

    lock = program.SCALE
    for _ in range(2):
        with pytest.warns(UserWarning, match="The model 'model' cannot be recognised in a later"):
            compare(model, tmp_path / "kept")
    assert len(estimated) == 2
    assert not list((tmp_path / "kept").iterdir())
