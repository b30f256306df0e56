"""KAN layers in sequence."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.layer import Activation, KANLayer


class KAN(nn.Module):
    r"""A Kolmogorov-Arnold network: KAN layers in sequence.

    The first layer sees the inputs as they are. What passes from one layer to the next may be any
    real number, so it is squashed into the domain :math:`(a, b)` of the next layer's basis by

    .. math:: h \mapsto \tfrac{a + b}{2} + \tfrac{b - a}{2} \tanh h,

    which keeps every function inside its grid and every gradient alive. The outputs are not
    squashed. With a layer norm, the hidden values of a point are standardised over the layer's
    width before they are squashed, so that they use the whole grid whatever their size.

    Args:
        widths: The numbers of inputs, of hidden values of each kind, and of outputs: at least two.
        basis: The basis of every layer, by default ``BSplineBasis()``. Each layer keeps a copy.
        base_activation: The base activation of every layer, or None for none.
        layer_norm: Whether hidden values are standardised, with a scale and a shift to learn.

    Raises:
        ValueError: If fewer than two widths are given, or one of them is below 1.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, equation 2.7.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> KAN([3, 5, 2])(torch.rand(10, 3)).shape
        torch.Size([10, 2])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        basis: Basis | None = None,
        base_activation: Activation | None = F.silu,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(
                f"Expected at least two widths, of the inputs and the outputs, got {list(widths)}."
            )
        self.layers = nn.ModuleList(
            KANLayer(*pair, basis=basis, base_activation=base_activation)
            for pair in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:-1] if layer_norm)

    def forward(self, z: Tensor) -> Tensor:
        """The outputs at inputs of shape ``(..., I)``: ``(..., O)``.

        Raises:
            ValueError: If the last dimension of ``z`` is not the first width.
        """
        first, *others = cast("Iterable[KANLayer]", self.layers)
        values: Tensor = first(z)
        for number, layer in enumerate(others):
            values = layer(self.between(number, values))
        return values

    def between(self, number: int, values: Tensor) -> Tensor:
        """The inputs of the next layer, made of the outputs of one.

        Args:
            number: The number of the layer whose outputs these are, from 0.
            values: Its outputs, of shape ``(..., O)``.

        Returns:
            Inputs of the next layer, inside its domain, of the same shape.
        """
        next_layer = cast("KANLayer", self.layers[number + 1])
        values = self.norms[number](values) if len(self.norms) > 0 else values
        return squash(values, next_layer.domain)


def layer_inputs(network: KAN | KANLayer, z: Tensor) -> Iterator[tuple[KANLayer, Tensor]]:
    """The layers in turn, each with the inputs that it gets.

    They are computed one layer at a time: what is done to a layer before the next one is asked for
    shows in the inputs of the next.

    Args:
        network: A network, or one layer.
        z: The network's inputs, of shape ``(..., I)``.

    Yields:
        A layer and its inputs.

    Example:
        >>> [inputs.shape for _, inputs in layer_inputs(KAN([3, 5, 2]), torch.rand(10, 3))]
        [torch.Size([10, 3]), torch.Size([10, 5])]
    """
    layers = layers_of(network)
    yield layers[0], z
    for number, (previous, layer) in enumerate(pairwise(layers)):
        z = cast("KAN", network).between(number, previous(z))
        yield layer, z


def layers_of(network: KAN | KANLayer) -> list[KANLayer]:
    """The layers of a network, from the inputs to the outputs; a layer by itself is the only one.

    Example:
        >>> len(layers_of(KAN([3, 5, 2])))
        2
    """
    if isinstance(network, KANLayer):
        return [network]
    return list(cast("Iterable[KANLayer]", network.layers))


def squash(values: Tensor, domain: tuple[float, float]) -> Tensor:
    """Maps real numbers smoothly and increasingly into an interval.

    Args:
        values: Real numbers of any shape.
        domain: The ends of the interval.

    Returns:
        A tensor of the same shape, with 0 taken to the middle of the interval.

    Example:
        >>> squash(torch.tensor([0.0, 100.0]), (1.0, 3.0))
        tensor([2., 3.])
    """
    low, high = domain
    return (low + high) / 2 + (high - low) / 2 * torch.tanh(values)


def check_samples(network: KAN | KANLayer, samples: Tensor) -> Tensor:
    """Samples of a network's inputs as rows.

    Args:
        network: A network or a layer of I inputs.
        samples: Inputs of shape ``(..., I)``.

    Returns:
        The same, of shape ``(S, I)``, in the precision and on the device of the network.

    Raises:
        TypeError: If the samples are no tensor.
        ValueError: If the last dimension is not I, or there is no sample, or one is not a number.

    Example:
        >>> import torch
        >>> check_samples(KANLayer(3, 2), torch.rand(4, 5, 3)).shape
        torch.Size([20, 3])
    """
    if not isinstance(samples, Tensor):
        raise TypeError(f"Expected samples as a torch.Tensor, got {type(samples).__name__}.")
    first = layers_of(network)[0]
    in_features = first.in_features
    if samples.dim() < 2 or samples.shape[-1] != in_features:
        raise ValueError(
            f"Expected samples of the {in_features} inputs, of shape (..., {in_features}) with at "
            f"least one dimension before the inputs, got shape {tuple(samples.shape)}."
        )
    if samples.numel() == 0:
        raise ValueError(f"Expected at least one sample, got shape {tuple(samples.shape)}.")
    num_missing = int(samples.isnan().any(-1).sum())
    if num_missing:
        raise ValueError(
            f"Expected samples that are numbers, got {num_missing} rows of "
            f"{samples[..., 0].numel()} with a NaN. Leave these rows out."
        )
    return samples.flatten(0, -2).to(first.coefficients)
