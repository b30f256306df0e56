"""Handwritten digits: scikit-learn's 1797 images of 8 x 8 pixels, as an additive LV-KAM.

The recipe `amortized` reaches 95 nats per held-out image in 30 CPU seconds, some 180 epochs, and 96
in its 400; with normal noise (`quantized=false`) 65. See `benchmarks/fit_digits.py`.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import lvkam_pyro as lv

IMAGE_SHAPE = (8, 8)
"""Rows and columns of one datum, for pictures."""

_NUM_TEST = 360
_NUM_LEVELS = 17


def build(
    *,
    num_latents: int = 16,
    num_components: int = 1,
    grid_size: int = 5,
    prior_grid_size: int = 5,
    num_outputs: int = 64,
    scale: float = 0.1,
    quantized: bool = True,
) -> lv.LVKAM:
    """Builds the model.

    Args:
        num_latents: Latents.
        num_components: Components of each latent's mixture of energy densities.
        grid_size: Cells of the generator's splines.
        prior_grid_size: Cells of the splines in the prior's energies.
        num_outputs: Pixels.
        scale: The noise's standard deviation to start from, on pixels in [0, 1].
        quantized: Whether the noise is rounded to the 17 grey levels and cut off at black and
            white, as the images are. Otherwise it is normal, which data that are no images need,
            and so do look-ahead and Gibbs sampling on a grid.
    """
    prior = lv.MixturePrior(
        num_latents, num_components=num_components, basis=lv.BSplineBasis(grid_size=prior_grid_size)
    )
    generator = lv.KANGenerator(
        num_latents, num_outputs, basis=lv.BSplineBasis(grid_size=grid_size)
    )
    if quantized:
        likelihood = lv.QuantizedLikelihood(num_outputs, num_levels=_NUM_LEVELS, scale=scale)
        return lv.LVKAM(prior, generator, likelihood)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(num_outputs, scale=scale))


def load_data(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Loads 1437 images to train on and 360 to hold out, each of shape (64,) with pixels in [0, 1].

    The grey levels n = 0..16 are dequantised, (n + u) / 17 with u uniform on [0, 1], so that a
    density is the right model of them (Theis et al. 2016, https://arxiv.org/abs/1511.01844,
    section 3.1).

    Args:
        seed: Of u and of the split.
    """
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor(load_digits().data, dtype=torch.float32)
    pixels = (levels + torch.rand(levels.shape, generator=generator)) / _NUM_LEVELS
    order = torch.randperm(len(pixels), generator=generator)
    return pixels[order[_NUM_TEST:]], pixels[order[:_NUM_TEST]]
