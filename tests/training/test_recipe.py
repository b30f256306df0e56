"""Recipe: what it refuses."""

import pytest

from tests.training.toy import toy_recipe

WRONG = {
    "objective": ({"objective": "elbo"}, TypeError, "pyro.infer.ELBO.*got 'elbo'"),
    "estimators": ({"estimators": (1,)}, TypeError, "estimators must be .*got 1"),
    "num_epochs": ({"num_epochs": 0}, ValueError, "num_epochs >= 1.*got 0"),
    "batch_size": ({"batch_size": 2.5}, TypeError, "batch_size to be an integer.*2.5"),
    "learning_rate": ({"learning_rate": 0.0}, ValueError, "learning_rate.*got 0.0"),
    "NaN rate": ({"guide_learning_rate": float("nan")}, ValueError, "guide_learning_rate.*nan"),
    "max_gradient_norm": ({"max_gradient_norm": -1.0}, ValueError, "max_gradient_norm.*-1.0"),
    "grid_updates": ({"grid_updates": 5}, TypeError, "GridUpdates\\(schedule.*got 5"),
}


@pytest.mark.parametrize(("changes", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_recipe_is_refused(
    changes: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        toy_recipe(**changes)
