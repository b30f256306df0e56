"""The functions of a prior, one layer or networks, seen alike."""

import torch
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.parallel import ParallelKAN

_CELLS_OF_A_NETWORK = 64


def evaluate(functions: KANLayer | ParallelKAN, z: Tensor) -> Tensor:
    """Each function at its own point: `z` of shape `(..., Q, P)`, so is the result.

    Example:
        >>> layer = KANLayer(3, 2)
        >>> evaluate(layer, torch.rand(5, 3, 2)).shape
        torch.Size([5, 3, 2])
        >>> evaluate(ParallelKAN(6, hidden=(4,)), torch.rand(5, 3, 2)).shape
        torch.Size([5, 3, 2])
    """
    if isinstance(functions, ParallelKAN):
        return functions(z.flatten(-2)).unflatten(-1, z.shape[-2:])
    columns = z.transpose(-1, -2)
    component = torch.arange(z.shape[-1], device=z.device)[:, None]
    return functions.selected(columns, component.expand(columns.shape)).transpose(-1, -2)


def cells_of(functions: KANLayer | ParallelKAN) -> Tensor:
    """Breakpoints that broadcast to `(Q, P, G + 1)`, between which the functions are smooth.

    A network has those of its first layer, between which it may be rough where hidden values pass
    a breakpoint of a later layer: its cells are cut until there are at least 64.

    Example:
        >>> cells_of(KANLayer(3, 2)).shape, cells_of(ParallelKAN(6, hidden=(4,))).shape
        (torch.Size([6]), torch.Size([66]))
    """
    if isinstance(functions, ParallelKAN):
        return cut(functions.breakpoints, -(-_CELLS_OF_A_NETWORK // _num_cells(functions)))
    # A row for each latent, shared by its components.
    breakpoints = functions.basis.breakpoints
    return breakpoints if breakpoints.dim() == 1 else breakpoints.unsqueeze(-2)


def cut(breakpoints: Tensor, parts: int) -> Tensor:
    """Breakpoints `(..., G + 1)` with every cell cut into equal parts.

    Example:
        >>> cut(torch.tensor([0.0, 1.0, 3.0]), 2)
        tensor([0.0000, 0.5000, 1.0000, 2.0000, 3.0000])
    """
    steps = torch.arange(parts, device=breakpoints.device).to(breakpoints) / parts
    inner = breakpoints[..., :-1, None] + breakpoints.diff(dim=-1)[..., None] * steps
    return torch.cat([inner.flatten(-2), breakpoints[..., -1:]], -1)


def _num_cells(functions: ParallelKAN) -> int:
    return functions.breakpoints.shape[-1] - 1
