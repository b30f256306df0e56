"""The recipe: everything about inference that is not the model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyro.infer import ELBO
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.training.grid_updates import GridUpdates


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    r"""Keeps the weights of the best epoch on validation data, and may end a training there.

    An epoch is better than the best one before if its validation loss, the objective's minus an
    estimate of :math:`\log p(x)` per datum, is lower by more than `min_improvement`. The validation
    data have chosen the epoch, so their own evidence is too high: estimate it on further data.

    Arguments:
        patience: End when this many epochs in a row were not better; None: keep the best, and
            never end early.
        min_improvement: In nats per datum.

    Raises:
        TypeError: If `patience` is no integer.
        ValueError: If `patience` is below 1, or `min_improvement` is negative or not finite.

    Example:
        >>> stopping = EarlyStopping(patience=2)
        >>> rows = [{"validation_loss_per_datum": loss} for loss in (5.0, 4.0, 4.5, 4.2)]
        >>> stopping.best_epoch(rows), stopping.is_over(rows)
        (2, True)
    """

    patience: int | None = 20
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        if self.patience is not None:
            check_count("patience", self.patience)
        if not 0 <= self.min_improvement < math.inf:
            raise ValueError(
                f"Expected min_improvement of at least 0 and finite, got {self.min_improvement}."
            )

    def best_epoch(self, metrics: Sequence[Mapping[str, float]]) -> int:
        """The best epoch, from 1; 0 if there is none yet.

        Args:
            metrics: A row an epoch, with `validation_loss_per_datum`.
        """
        best, lowest = 0, math.inf
        for epoch, row in enumerate(metrics, start=1):
            loss = row["validation_loss_per_datum"]
            if not best or loss < lowest - self.min_improvement:
                best, lowest = epoch, math.inf if math.isnan(loss) else loss
        return best

    def is_over(self, metrics: Sequence[Mapping[str, float]]) -> bool:
        """Whether patience has run out.

        Args:
            metrics: As for `best_epoch`.
        """
        since = len(metrics) - self.best_epoch(metrics)
        return self.patience is not None and since >= self.patience


@dataclass(frozen=True, kw_only=True)
class Recipe:
    r"""How a model is trained and how its evidence is estimated.

    Each update descends, by Adam on a shuffled mini-batch of B data,

    .. math:: \frac{1}{B} \mathrm{objective}(\mathrm{model}, \mathrm{guide})(x_{1..B})
              + \frac{1}{N} \mathrm{regularizer}(\mathrm{model}),

    with a learning rate that falls to zero on a cosine,
    :math:`\eta_k = \eta (1 + \cos(\pi k / K)) / 2` at update k of K (Loshchilov and Hutter 2017,
    SGDR, Equation 5 without restarts, https://arxiv.org/abs/1608.03983).

    Attributes:
        name: What tables and progress bars call it.
        build_guide: `build_guide(model, x)` makes the guide for the data x; where `fit` is given
            several arguments it is called as the model is, `build_guide(model, *args, **kwargs)`.
            Of more than 16,384 data, or 64 million entries, it is given evenly spaced ones, and so
            are `start` and `grid_updates`.
        objective: A Pyro ELBO, such as `EmpiricalBayes` or `Trace_ELBO`; its loss is a sum over
            the batch.
        estimators: The evidence estimators that a run of this recipe reports.
        num_epochs: Passes over the data.
        batch_size: Data an update; the last batch of an epoch may be shorter.
        learning_rate: Adam's first step size for the model's parameters.
        guide_learning_rate: The same for the guide's own parameters; None: as for the model.
        max_gradient_norm: Longer gradients (of the loss per datum) are scaled down to this
            Euclidean norm; None: never.
        start: `start(model, x)`, or `start(model, *args, **kwargs)`, sets the model's first
            parameters before the guide is built.
        regularizer: `regularizer(model)`, a scalar in nats: minus a log prior density of the
            model's parameters, say. All N data share it.
        grid_updates: When and how the grids of the model's KANs follow the posterior; None: never.
        early_stopping: Keeps the epoch that is best on validation data, which `fit` then needs;
            None: the last epoch is kept.

    Raises:
        TypeError: If `objective` is no ELBO, an estimator is none, `grid_updates` are no
            GridUpdates, `early_stopping` is no EarlyStopping, or a count is no integer.
        ValueError: If a number is out of its range; the message names it.

    Example:
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro.infer.autoguide import AutoNormal
        >>> recipe = Recipe(
        ...     name="mean field", build_guide=lambda model, x: AutoNormal(model),
        ...     objective=Trace_ELBO(), num_epochs=10, learning_rate=0.01,
        ... )
        >>> recipe.batch_size
        128
    """

    name: str
    build_guide: Callable[..., Program]
    objective: ELBO
    estimators: tuple[Estimator, ...] = ()
    num_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    guide_learning_rate: float | None = None
    max_gradient_norm: float | None = None
    start: Callable[..., object] | None = None
    regularizer: Callable[[Program], Tensor] | None = None
    grid_updates: GridUpdates | None = None
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, ELBO):
            raise TypeError(
                "objective must be a pyro.infer.ELBO such as EmpiricalBayes() or Trace_ELBO(); "
                f"got {self.objective!r}."
            )
        for estimator in self.estimators:
            if not isinstance(estimator, Estimator):
                raise TypeError(f"estimators must be EvidenceEstimators; got {estimator!r}.")
        _check_none_or("grid_updates", self.grid_updates, GridUpdates, "GridUpdates(schedule=...)")
        _check_none_or("early_stopping", self.early_stopping, EarlyStopping, "EarlyStopping()")
        for name in ("num_epochs", "batch_size"):
            check_count(name, getattr(self, name))
        _check_positive("learning_rate", self.learning_rate)
        for name in ("guide_learning_rate", "max_gradient_norm"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))

    def is_over(self, metrics: Sequence[Mapping[str, float]]) -> bool:
        """Whether a training with these rows, one an epoch, has come to its end."""
        stopped = self.early_stopping is not None and self.early_stopping.is_over(metrics)
        return stopped or len(metrics) >= self.num_epochs


def _check_none_or(name: str, value: object, kind: type, example: str) -> None:
    if not isinstance(value, kind | None):
        raise TypeError(f"{name} must be {example} or None; got {value!r}.")


def _check_positive(name: str, value: float) -> None:
    if not (0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}.")
