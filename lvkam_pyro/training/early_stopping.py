"""Early stopping: the epoch that data which are not trained on like best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lvkam_pyro.options import check_count


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
