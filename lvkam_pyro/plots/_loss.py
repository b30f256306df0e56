"""The loss while training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lvkam_pyro.plots.style import MODEL, PALETTE, panels, quote, styled

CURVES = {
    "loss_per_datum": ("training", MODEL, "-"),
    "held_out_loss_per_datum": ("held out", PALETTE[1], "--"),
}


@styled
def loss(metrics: Sequence[Mapping[str, float]], *, axes: Axes | None = None) -> Axes:
    """The loss per datum against the epoch, of the training data and of the held-out data.

    Where the first tenth of the epochs falls by far more than the rest, it leaves the picture at
    the top, so that the rest can be read.

    Args:
        metrics: A row an epoch with `epoch`, `loss_per_datum` and, if there were held-out data,
            `held_out_loss_per_datum`: `Fit.metrics`, or what `metrics.csv` holds.
        axes: Where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no row, or a row has no epoch or loss.

    Example:
        >>> import lvkam_pyro as lv
        >>> metrics = [{"epoch": epoch, "loss_per_datum": 1 / epoch} for epoch in range(1, 9)]
        >>> axes = lv.plots.loss(metrics)
        >>> axes.get_ylabel()
        'loss (nats per datum)'
    """
    _check(metrics)
    (one,) = panels(1, axes, size=(4.6, 2.8))
    epochs = [row["epoch"] for row in metrics]
    for name, (label, colour, line) in CURVES.items():
        if name in metrics[0]:
            losses = [row[name] for row in metrics]
            one.plot(epochs, losses, line, color=colour, label=f"{label}: {quote(losses[-1])}")
    one.set(xlabel="epoch", ylabel="loss (nats per datum)")
    one.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _look_past_the_start(one)
    one.legend(title="last value", title_fontsize=8)
    return one


def _look_past_the_start(axes: Axes) -> None:
    losses = np.stack([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    later = losses[:, losses.shape[1] // 10 :]
    low, high = later.min(), later.max()
    if losses.max() - low > 3 * (high - low) > 0:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.3 * (high - low))


def _check(metrics: Sequence[Mapping[str, float]]) -> None:
    if not metrics:
        raise ValueError("Expected a row for each epoch, got none. Pass Fit.metrics.")
    for row in metrics:
        if not {"epoch", "loss_per_datum"} <= row.keys():
            raise ValueError(
                f"Expected rows with 'epoch' and 'loss_per_datum', got {sorted(row)}. "
                "Pass Fit.metrics, or the rows of metrics.csv."
            )
