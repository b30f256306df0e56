"""The start of recipes that serve models of every kind."""

import torch

from lvkam_pyro.programs import load_program
from lvkam_pyro.training.starts.start import start_additive
from tests.training.toy import FactorModel, toy_data, weights


def test_additive_model_starts_at_the_principal_components() -> None:
    program = load_program("model", "digits")
    x, _ = program.module.load_data()
    model = program.build({})
    before = model.likelihood.scale.detach().mean()
    start_additive(model, x)
    assert model.likelihood.scale.mean() < before + 0.1
    assert model.likelihood.scale.std() > 0.01


def test_other_models_start_where_they_are() -> None:
    model = FactorModel()
    before = weights(model)
    start_additive(model, toy_data())
    assert all(map(torch.equal, before, weights(model)))
