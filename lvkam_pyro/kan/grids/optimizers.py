"""The state of an optimiser whose parameters were changed or replaced under it."""

from torch import nn
from torch.optim import LBFGS, Optimizer


def check_trains(optimizer: Optimizer | None, parameters: list[nn.Parameter]) -> None:
    """Refuses an optimiser that does not train all of the parameters.

    Args:
        optimizer: The optimiser, or None.
        parameters: The parameters; those that require no gradient are not asked for.

    Raises:
        TypeError: If it is no torch optimiser.
        ValueError: If one of the parameters is not in it.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.ones(2))
        >>> check_trains(None, [weight])
    """
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Expected a torch.optim.Optimizer or None, got {optimizer!r}.")
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [p for p in parameters if p.requires_grad and id(p) not in trained]
    if missing:
        raise ValueError(
            "Expected the optimizer that trains the coefficients, got one without "
            f"{len(missing)} of the {len(parameters)} parameters. Pass the optimizer of these "
            "layers, or None."
        )


def forget(optimizer: Optimizer, parameter: nn.Parameter) -> None:
    """Empties what the optimiser keeps of a parameter, as before its first step.

    Moments belong to the old coefficients: first moments could be carried over, second ones could
    not, and Adam's correction for its start then fits neither. What L-BFGS keeps is of all its
    parameters together, so it starts anew for all.

    Args:
        optimizer: The optimiser.
        parameter: One of its parameters, or one that it had.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.Adam([weight])
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> forget(optimizer, weight)
        >>> len(optimizer.state)
        0
    """
    if isinstance(optimizer, LBFGS):
        optimizer.state.clear()
        # It remembers how many entries its parameters have.
        optimizer._numel_cache = None
    optimizer.state.pop(parameter, None)


def exchange(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter) -> None:
    """Puts a parameter in the place of another, with the settings of its group.

    Args:
        optimizer: The optimiser of the old parameter.
        old: The parameter to leave out.
        new: The one to train from now on.

    Example:
        >>> import torch
        >>> old, new = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
        >>> optimizer = torch.optim.SGD([old], lr=0.1)
        >>> exchange(optimizer, old, new)
        >>> optimizer.param_groups[0]["params"][0] is new
        True
    """
    for group in optimizer.param_groups:
        # In place: L-BFGS holds this very list.
        group["params"][:] = [
            new if parameter is old else parameter for parameter in group["params"]
        ]
    forget(optimizer, old)
