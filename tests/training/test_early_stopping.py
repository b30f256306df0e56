"""Early stopping: the best epoch is kept, and a resumed training keeps the same one."""

import math
from pathlib import Path

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.tracing.arguments import Arguments
from lvkam_pyro.training import loop
from lvkam_pyro.training.epoch import held_out_loss
from lvkam_pyro.training.loop import Fit, load_fit
from lvkam_pyro.training.preparation import isolated
from lvkam_pyro.training.recipe import EarlyStopping
from lvkam_pyro.training.runs.checkpoint import CheckpointError
from lvkam_pyro.training.state import TrainingState
from tests.training.toy import (
    assert_same_weights,
    stop_at,
    toy_data,
    toy_fit,
    toy_model,
    toy_recipe,
    weights,
)

VALIDATION = toy_data(60)[40:]
"""Rows beyond the forty that are trained on."""

HISTORIES = {
    "falling": ([3.0, 2.0, 1.0], {}, 3, False),
    "none": ([], {}, 0, False),
    "patience is left": ([3.0, 4.0], {"patience": 2}, 1, False),
    "patience runs out": ([3.0, 4.0, 5.0], {"patience": 2}, 1, True),
    "equal is no better": ([3.0, 3.0, 3.0], {"patience": 2}, 1, True),
    "for ever": ([3.0, *[4.0] * 500], {"patience": None}, 1, False),
    "too little": ([3.0, 2.9, 2.85], {"patience": 2, "min_improvement": 0.2}, 1, True),
    "small steps add up": ([3.0, 2.9, 2.7], {"patience": 2, "min_improvement": 0.2}, 3, False),
    "NaN is worst": ([math.nan, 5.0, math.nan], {"patience": 2}, 2, False),
}


@pytest.mark.parametrize(("losses", "options", "best", "over"), HISTORIES.values(), ids=HISTORIES)
def test_history_decides(losses: list[float], options: dict, best: int, over: bool) -> None:
    stopping = EarlyStopping(**options)
    rows = [{"validation_loss_per_datum": loss} for loss in losses]
    assert stopping.best_epoch(rows) == best
    assert stopping.is_over(rows) is over


def scripted(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[list[torch.Tensor]]:
    """Makes validation losses what the list says; returns the model's weights at each of them."""
    seen = []

    def loss(training: TrainingState, x: object) -> float:
        seen.append(weights(training.model))
        return losses[training.epoch]

    monkeypatch.setattr(loop, "held_out_loss", loss)
    return seen


def stopping_fit(patience: int | None = 2, **options: object) -> Fit:
    stopping = EarlyStopping(patience=patience)
    changes = options.pop("changes", {})
    recipe = toy_recipe(num_epochs=8, early_stopping=stopping, **changes)
    return toy_fit(options.pop("model", None), recipe=recipe, x_validation=VALIDATION, **options)


def test_best_epoch_is_kept_and_training_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.2, 1.0])
    result = stopping_fit()
    assert len(result.metrics) == 5
    assert result.epoch == 3
    assert all(map(torch.equal, weights(result.model), seen[2]))
    assert not any(map(torch.equal, weights(result.model), seen[4]))
    assert not result.model.training


def test_without_patience_all_epochs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.2, 3.1, 3.4, 9.0])
    result = stopping_fit(None)
    assert len(result.metrics) == 8
    assert all(map(torch.equal, weights(result.model), seen[2]))


def test_kept_weights_have_the_lowest_loss_that_was_reported() -> None:
    result = stopping_fit(None, changes={"learning_rate": 0.5, "guide_learning_rate": 0.5})
    losses = [row["validation_loss_per_datum"] for row in result.metrics]
    with isolated(0, VALIDATION):
        training = TrainingState(lv.bind(result.model, toy_data()), result.guide, result.recipe)
        assert held_out_loss(training, Arguments((VALIDATION,), {})) == min(losses)
    assert result.epoch == losses.index(min(losses)) + 1


@pytest.mark.parametrize("epoch", [2, 4, 5])
def test_resumed_training_keeps_the_same_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    scripted(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.2, 1.0])
    unbroken = stopping_fit()
    with pytest.raises(KeyboardInterrupt):
        stopping_fit(changes={"regularizer": stop_at(epoch, KeyboardInterrupt)}, folder=tmp_path)
    resumed = stopping_fit(model=toy_model(9), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, resumed)
    assert resumed.epoch == 3
    again = stopping_fit(model=toy_model(8), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, again)
    assert len(again.metrics) == 5
    assert_same_weights(unbroken, load_fit(toy_model(7), toy_data(), again.recipe, tmp_path))


def test_resume_refuses_other_validation_data(tmp_path: Path) -> None:
    stopping_fit(folder=tmp_path)
    recipe = toy_recipe(num_epochs=8, early_stopping=EarlyStopping(patience=2))
    with pytest.raises(CheckpointError, match="validation_hash was"):
        toy_fit(recipe=recipe, x_validation=VALIDATION + 1, folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"early_stopping was \{'patience': 2"):
        stopping_fit(3, folder=tmp_path, resume=True)


def test_validation_data_and_early_stopping_need_each_other() -> None:
    with pytest.raises(ValueError, match="toy stops early, and needs x_validation"):
        toy_fit(recipe=toy_recipe(early_stopping=EarlyStopping()))
    with pytest.raises(ValueError, match="x_validation is for early stopping, and the recipe toy"):
        toy_fit(x_validation=VALIDATION)
    with pytest.raises(ValueError, match="x and x_validation must agree"):
        recipe = toy_recipe(early_stopping=EarlyStopping())
        toy_fit(recipe=recipe, x_validation=VALIDATION[:, :2])


WRONG = {
    "none": ({"patience": 0}, ValueError, "patience >= 1"),
    "half": ({"patience": 1.5}, TypeError, "patience to be an integer"),
    "negative": ({"min_improvement": -1.0}, ValueError, "min_improvement .* got -1.0"),
    "NaN": ({"min_improvement": math.nan}, ValueError, "min_improvement .* got nan"),
}


@pytest.mark.parametrize(("options", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(options: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        EarlyStopping(**options)


def test_recipe_takes_nothing_else_for_it() -> None:
    with pytest.raises(TypeError, match=r"early_stopping must be EarlyStopping\(\) or None; got 5"):
        toy_recipe(early_stopping=5)
