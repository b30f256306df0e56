"""Functions that a network can do without."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.splines import SplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, check_samples, layer_inputs, layers_of
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer


@torch.no_grad()
def edge_importance(network: KAN | KANLayer, samples: Tensor) -> tuple[Tensor, ...]:
    r"""The share of the network's outputs that each function makes.

    .. math:: B_{oi} = A_o \frac{\operatorname{sd} f_{oi}(z_i)}{\operatorname{sd} h_o}, \qquad
              h_o = \sum_i f_{oi}(z_i),

    with standard deviations over the samples and :math:`A_o = 1` in the last layer; below it, a
    hidden value's :math:`A_i = \sum_o B_{oi}` is what the next layer makes of it. Constants do not
    count.

    Args:
        network: A network or a layer.
        samples: Inputs of the network, of shape ``(..., I)``.

    Returns:
        The scores of every layer's functions, ``(I, O)`` each, in float64, without gradient; 0 for
        functions that are masked or constant.

    Raises:
        ValueError: If the samples do not fit, see `check_samples`.

    References:
        Liu, Z. et al. (2024). KAN 2.0: Kolmogorov-Arnold Networks Meet Science, the attribution
        score. https://arxiv.org/abs/2408.10205

    Example:
        >>> layer = KANLayer(2, 1)
        >>> layer.set_mask(torch.tensor([[1.0], [0.0]]))
        >>> edge_importance(layer, torch.rand(100, 2))
        (tensor([[1.0000],
                [0.0000]], dtype=torch.float64),)
    """
    rows = check_samples(network, samples)
    deviations = [_deviations(layer, inputs) for layer, inputs in layer_inputs(network, rows)]
    scores: list[Tensor] = []
    received = torch.ones_like(deviations[-1][1])
    for of_functions, of_outputs in reversed(deviations):
        share = of_functions / of_outputs.clamp(min=torch.finfo(of_outputs.dtype).tiny)
        scores.append(received * share)
        received = scores[-1].sum(1)
    return tuple(reversed(scores))


@dataclass(frozen=True)
class Pruning:
    """The report of `prune`, with the way back.

    Attributes:
        removed: For every layer, ``(I, O)``, whether the function was switched off now.
        rescued: For every layer the outputs that would have lost all functions and kept the one of
            the largest score.
        lost: For every output of the network, ``(O,)``, the mean squared change over the samples
            as a share of the output's variance.

    Example:
        >>> print(prune(KANLayer(3, 2), torch.rand(100, 3), threshold=0.0))
        layer 0: 0 of 6 functions removed
        variance lost: 0.00%, at most 0.00% (output 0)
    """

    removed: tuple[Tensor, ...]
    rescued: tuple[tuple[int, ...], ...]
    lost: Tensor
    _before: "tuple[_State, ...]" = field(repr=False)

    def restore(self) -> None:
        """Puts the masks and the coefficients back to what they were before, bit for bit.

        Whatever training did to these coefficients in between is undone too.

        Raises:
            RuntimeError: If the grid of a layer has changed since, so that they no longer fit.
        """
        for state in self._before:
            state.check()
        for state in self._before:
            state.restore()

    def __str__(self) -> str:
        """A line for every layer, and what it cost."""
        layers = zip(self.removed, self.rescued, strict=True)
        lines = [_describe(number, *layer) for number, layer in enumerate(layers)]
        worst = int(self.lost.argmax())
        cost = f"{self.lost.mean():.2%}, at most {self.lost[worst]:.2%} (output {worst})"
        return "\n".join([*lines, f"variance lost: {cost}"])


@torch.no_grad()
def prune(network: KAN | KANLayer, samples: Tensor, *, threshold: float = 0.01) -> Pruning:
    """Switches off the functions whose `edge_importance` is below a threshold.

    B-splines hold the constants, so there the mean of what an output loses is added to the largest
    function that it keeps: only what varies is lost. An output never loses all its functions.

    Args:
        network: A network or a layer, changed IN PLACE: its masks, and coefficients of B-splines.
        samples: Inputs of the network, of shape ``(..., I)``.
        threshold: The smallest score of a function that stays.

    Returns:
        The removed functions and what they cost, with the way back.

    Raises:
        ValueError: If the threshold is negative or not finite, or the samples do not fit.

    Example:
        >>> layer = KANLayer(2, 1)
        >>> with torch.no_grad():
        ...     layer.coefficients[1] *= 1e-3
        >>> pruning = prune(layer, torch.rand(100, 2))
        >>> layer.mask.flatten(), bool(pruning.lost < 0.01)
        (tensor([1., 0.]), True)
        >>> pruning.restore()
        >>> layer.mask.flatten()
        tensor([1., 1.])
    """
    if not 0 <= threshold < float("inf"):
        raise ValueError(f"Expected a threshold of at least 0 and finite, got {threshold}.")
    rows = check_samples(network, samples)
    outputs = network(rows)
    before = tuple(_State.of(layer) for layer in layers_of(network))
    plans = [
        _Plan.of(layer, inputs, scores, threshold)
        for (layer, inputs), scores in zip(
            layer_inputs(network, rows), edge_importance(network, rows), strict=True
        )
    ]
    for plan in plans:
        plan.carry_out()
    return Pruning(
        removed=tuple(plan.removed for plan in plans),
        rescued=tuple(plan.rescued for plan in plans),
        lost=_unexplained(outputs.double(), network(rows).double()),
        _before=before,
    )


@dataclass(frozen=True)
class _State:
    """The state of a layer that pruning changes, with the basis that it belongs to."""

    layer: KANLayer
    basis: Basis
    mask: Tensor
    coefficients: Tensor

    @classmethod
    def of(cls, layer: KANLayer) -> "_State":
        return cls(layer, layer.basis, layer.mask.clone(), layer.coefficients.detach().clone())

    def check(self) -> None:
        if self.layer.basis is not self.basis:
            raise RuntimeError(
                f"Expected the basis that the layer was pruned with, {self.basis}, but it has "
                f"{self.layer.basis} by now, to which the old coefficients do not belong. Restore "
                "before the grid is changed."
            )

    @torch.no_grad()
    def restore(self) -> None:
        self.layer.coefficients.copy_(self.coefficients)
        self.layer.set_mask(self.mask.to(self.layer.mask))


@dataclass(frozen=True)
class _Plan:
    """The functions to remove from a layer."""

    layer: KANLayer
    removed: Tensor
    rescued: tuple[int, ...]
    best: Tensor
    means: Tensor

    @classmethod
    def of(cls, layer: KANLayer, inputs: Tensor, scores: Tensor, threshold: float) -> "_Plan":
        on = layer.mask.bool()
        kept = on & ~(scores < threshold)
        best = scores.where(on, -1.0).argmax(0)
        rescued = on.any(0) & ~kept.any(0)
        kept[best[rescued], rescued] = True
        means = layer.features(inputs).mean(0).unsqueeze(1) @ layer.coefficients
        outputs = tuple(rescued.nonzero().flatten().tolist())
        return cls(layer, on & ~kept, outputs, best, means.squeeze(1))

    def carry_out(self) -> None:
        layer = self.layer
        if isinstance(layer.basis, SplineBasis):
            lost = (self.means * self.removed).sum(0)
            outputs = torch.arange(layer.out_features, device=lost.device)
            # B-splines sum to 1: the same on every coefficient is a constant.
            layer.coefficients[self.best, : layer.basis.num_functions, outputs] += lost[:, None]
        layer.set_mask(layer.mask * ~self.removed)


def _describe(number: int, removed: Tensor, rescued: tuple[int, ...]) -> str:
    line = f"layer {number}: {int(removed.sum())} of {removed.numel()} functions removed"
    return f"{line}; outputs {list(rescued)} keep their best one" if rescued else line


def _deviations(layer: KANLayer, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations over the samples, of the functions (I, O) and of the outputs (O,)."""
    of_outputs = layer(inputs).double().std(0, correction=0)
    if isinstance(layer, SymbolicLayer):
        return layer.unsummed(inputs).double().std(0, correction=0), of_outputs
    # From the covariance of the features: the functions at all samples would be S x I x O.
    features = layer.features(inputs).double()
    centred = (features - features.mean(0)).transpose(0, 1)
    covariance = centred.mT @ centred / len(inputs)
    coefficients = (layer.coefficients * layer.mask.unsqueeze(1)).double()
    variance = (coefficients * (covariance @ coefficients)).sum(1)
    return variance.clamp(min=0).sqrt(), of_outputs


def _unexplained(before: Tensor, after: Tensor) -> Tensor:
    """The mean squared change of each output as a share of its variance; 0 where none changed."""
    change = (after - before).square().mean(0)
    return change / before.var(0, correction=0).clamp(min=torch.finfo(change.dtype).tiny)
