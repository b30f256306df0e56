"""Many deep functions of one variable, evaluated together."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import squash


class ParallelKAN(nn.Module):
    r"""Independent Kolmogorov-Arnold networks of one input and one output each.

    .. math:: f_m(z) = \sum_{j} \phi_{mj}\big(\textstyle\sum_i \dots \phi_{mi}(z)\big), \qquad
              m = 1..M

    Every layer of all `M` networks is one `KANLayer` whose functions are used unsummed, each
    network adding up its own. Between layers values are squashed as in `KAN`. Outside the domain
    of the first layer's basis, the network goes on as that basis says.

    Args:
        num_networks: The number of networks `M`.
        hidden: The widths between the input and the output, at least one.
        basis: The basis of every layer, by default ``BSplineBasis()``. Each layer keeps a copy.
        base_activation: The base activation of every layer, or None for none.

    Raises:
        ValueError: If there is no network, no hidden width, or one below 1.

    Example:
        >>> import torch
        >>> functions = ParallelKAN(6, hidden=(5,))
        >>> functions(torch.rand(10, 6)).shape
        torch.Size([10, 6])
    """

    def __init__(
        self,
        num_networks: int,
        *,
        hidden: Sequence[int],
        basis: Basis | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = F.silu,
    ) -> None:
        super().__init__()
        if num_networks < 1 or not hidden or min(hidden) < 1:
            raise ValueError(
                "Expected at least one network and hidden widths of at least 1, got "
                f"{num_networks} networks and hidden={tuple(hidden)}. A function without hidden "
                "layers is an output of a KANLayer."
            )
        self.num_networks = num_networks
        # A layer scales its start for a sum over all of its inputs; here each network sums its own.
        scale = math.sqrt(num_networks)
        self.layers = nn.ModuleList(
            KANLayer(
                num_networks * num_inputs,
                num_outputs,
                basis=basis,
                base_activation=base_activation,
                mu=scale,
                sigma=scale,
                noise=0.3 * scale,
            )
            for num_inputs, num_outputs in pairwise([1, *hidden, 1])
        )

    @property
    def domain(self) -> tuple[float, float]:
        """The ends of the interval on which the first layer's functions vary."""
        return self._first.domain

    @property
    def breakpoints(self) -> Tensor:
        """Those of the first layer; where the others have theirs depends on their inputs."""
        return self._first.basis.breakpoints

    def forward(self, z: Tensor) -> Tensor:
        """Each network at its own point: `z` of shape ``(..., M)``, so is the result.

        Raises:
            ValueError: If the last dimension of ``z`` is not the number of networks.
        """
        if z.shape[-1:] != (self.num_networks,):
            raise ValueError(
                f"Expected points of shape (..., {self.num_networks}), one for each network, got "
                f"{tuple(z.shape)}."
            )
        first, *others = cast("Iterable[KANLayer]", self.layers)
        values = first.unsummed(z)
        for layer in others:
            inputs = squash(values.flatten(-2), layer.domain)
            values = layer.unsummed(inputs).unflatten(-2, values.shape[-2:]).sum(-2)
        return values.squeeze(-1)

    @property
    def _first(self) -> KANLayer:
        return cast("KANLayer", self.layers[0])
