"""The full conditionals of an additive model on nodes: one coordinate given all others."""

import torch
from torch import Tensor

from lvkam_pyro.additive.tables import AdditiveTables


def conditional_logits(
    log_masses: Tensor, functions: Tensor, residual: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    r"""The unnormalised log probabilities of one coordinate's nodes, given all others.

    .. math:: \log W_g + t \, \big( r \cdot \Phi_g - |\Phi_g|^2 / 2 \big)

    with the residual r without that coordinate's own function.

    Args:
        log_masses: `(G,)`.
        functions: `(G, R)`.
        residual: `(..., R)`.
        temperature: t, of a shape that broadcasts to `(..., 1)`.

    Returns:
        Logits `(..., G)`.

    Example:
        >>> conditional_logits(torch.zeros(2), torch.tensor([[0.0], [2.0]]), torch.tensor([1.5]))
        tensor([0., 1.])
    """
    return log_masses + temperature * (residual @ functions.T - functions.square().sum(-1) / 2)


def draw_node(
    log_masses: Tensor, functions: Tensor, residual: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    """One node of a coordinate, drawn from its conditional; see `conditional_logits`.

    Args:
        log_masses: `(G,)`.
        functions: `(G, R)`.
        residual: `(..., R)`.
        temperature: t, of a shape that broadcasts to `(..., 1)`.

    Returns:
        Nodes `(...)`.

    Example:
        >>> functions = torch.tensor([[0.0], [50.0]])
        >>> draw_node(torch.zeros(2), functions, torch.tensor([[49.0], [1.0]]))
        tensor([1, 0])
    """
    logits = conditional_logits(log_masses, functions, residual, temperature)
    # One pass of exponentials, in place: this is where a sweep spends its time.
    cumulated = logits.sub_(logits.amax(-1, keepdim=True)).exp_().cumsum(-1)
    place = torch.rand_like(cumulated[..., :1]) * cumulated[..., -1:]
    return torch.searchsorted(cumulated, place).squeeze(-1).clamp(max=len(functions) - 1)


def sweep(
    tables: AdditiveTables, nodes: Tensor, residual: Tensor, temperature: Tensor | float = 1.0
) -> Tensor:
    """Draw every coordinate's node anew from its conditional, one after the other, in place.

    Args:
        tables: The model on its nodes.
        nodes: `(..., Q)`.
        residual: The data less all functions at the nodes, `(..., R)`.
        temperature: t, of a shape that broadcasts to `(..., 1)`.

    Returns:
        The residual at the new nodes.
    """
    for q, (functions, log_masses) in enumerate(zip(tables.values, tables.log_masses, strict=True)):
        without = residual + functions[nodes[..., q]]
        nodes[..., q] = draw_node(log_masses, functions, without, temperature)
        residual = without - functions[nodes[..., q]]
    return residual


def discretization_error(tables: AdditiveTables, residual: Tensor, nodes: Tensor) -> Tensor:
    r"""The change of the log evidence by twice as many nodes, to first order.

    .. math:: \sum_q E \Big[ \log \sum_{g'} W'_{qg'} e^{\ell'_{qg'}} -
              \log \sum_g W_{qg} e^{\ell_{qg}} \Big]

    over posterior draws, where each coordinate in turn is integrated over its own conditional on
    the finer and on the given nodes.

    Args:
        tables: The model on its nodes.
        residual: The projected data, `(N, R)`.
        nodes: Posterior draws of the nodes, `(D, N, Q)`.

    Returns:
        Absolute differences in nats, `(N,)`.
    """
    fine_masses, fine_functions = tables.refine()
    own = tables.at(tables.values, nodes)
    rest = residual - own.sum(-2)
    error = residual.new_zeros(len(residual))
    for q in range(tables.num_coordinates):
        without = rest + own[..., q, :]
        coarse = conditional_logits(tables.log_masses[q], tables.values[q], without)
        fine = conditional_logits(fine_masses[q], fine_functions[q], without)
        error += (fine.logsumexp(-1) - coarse.logsumexp(-1)).mean(0)
    return error.abs()
