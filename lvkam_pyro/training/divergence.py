"""The named end of a training that left the numbers."""

from torch import Tensor, nn


class DivergenceError(RuntimeError):
    """A loss or a gradient became NaN or infinite; the parameters are those before that update."""


def divergence_error(loss: Tensor, module: nn.Module, *, epoch: int, batch: int) -> DivergenceError:
    """Says where a training diverged.

    Args:
        loss: The loss of the update, ().
        module: The objective with the model and the guide, after `backward`.
        epoch: The epoch, from 1.
        batch: The batch in the epoch, from 1.

    Returns:
        The error, which names the parameters whose gradient is not finite.
    """
    names = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    overflow = " the norm of the gradient overflows;" if loss.isfinite() else ""
    gradients = f" the gradient is not finite for {', '.join(names)};" if names else overflow
    return DivergenceError(
        f"Training diverged at epoch {epoch}, batch {batch}: the loss is {loss.item():.6g};"
        f"{gradients} this update was not made. Lower learning_rate, set max_gradient_norm, or "
        "look for outliers in the data."
    )
