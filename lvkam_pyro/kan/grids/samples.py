"""Samples of a network's inputs, on which its functions are judged."""

from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layers_of


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
