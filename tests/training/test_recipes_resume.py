"""Every recipe that comes with the library resumes bit for bit, whatever its guide remembers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.programs import load_program, program_names
from lvkam_pyro.training.loop import Fit, fit
from tests.training.toy import assert_same_weights, stop_at, toy_data

X = toy_data(60)


def small_model() -> lv.LVKAM:
    torch.manual_seed(0)
    basis = lv.BSplineBasis(grid_size=4)
    prior = lv.MixturePrior(2, num_components=2, basis=basis)
    return lv.LVKAM(prior, lv.KANGenerator(2, 3, basis=basis), lv.NormalLikelihood(3, scale=0.5))


SMALL = {
    "num_epochs": 4,
    "batch_size": 20,
    "patience": 4,
    "hidden": [8],
    "num_nodes": 16,
    "num_warmup": 4,
    "max_tree_depth": 2,
}
RECIPES = [(name, {}) for name in program_names("inference")] + [
    (name, {"persistent_chains": True, "num_particles": 4})
    for name in ("grid_gibbs", "thermodynamic")
]


def build(name: str, options: dict[str, object]) -> lv.Recipe:
    """The recipe in its own form but for four epochs of three batches, and patience."""
    program = load_program("inference", name)
    small = {key: SMALL[key] for key in SMALL if key in program.options()}
    return program.build(small | options)


def case(name: str, options: dict[str, object]) -> object:
    persistent = "persistent_chains" in options
    is_slow = name == "nuts" or (name == "thermodynamic" and persistent)
    marks = pytest.mark.slow if is_slow else ()
    return pytest.param(name, options, id=name + "-persistent" * persistent, marks=marks)


@pytest.mark.parametrize(("name", "options"), [case(*each) for each in RECIPES])
def test_recipe_resumes_bit_for_bit(name: str, options: dict[str, object], tmp_path: Path) -> None:
    def trained(recipe: lv.Recipe, folder: Path | None, *, resume: bool = False) -> Fit:
        options = {"folder": folder, "resume": resume, "progress": False}
        return fit(small_model(), X, recipe, x_validation=X[:20], **options)

    recipe = build(name, options)
    penalty, stop = recipe.regularizer, stop_at(3, KeyboardInterrupt)

    def stopping(model: object) -> torch.Tensor:
        return stop(model) + (0.0 if penalty is None else penalty(model))

    with pytest.raises(KeyboardInterrupt):
        trained(replace(recipe, regularizer=stopping), tmp_path)
    unbroken, resumed = (
        trained(build(name, options), None),
        trained(build(name, options), tmp_path, resume=True),
    )
    assert len(resumed.metrics) == 4
    assert_same_weights(unbroken, resumed)
    columns = ("loss_per_datum", "validation_loss_per_datum", "gradient_norm")
    rows = [[[row[key] for key in columns] for row in each.metrics] for each in (unbroken, resumed)]
    assert rows[0] == rows[1]
