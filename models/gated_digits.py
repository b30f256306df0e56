"""Handwritten digits by a mixture of experts: one function a latent, shared by learned gates.

`lvkam fit gated_digits --set num_epochs=120` reaches 49 nats per held-out image in 33 CPU seconds;
the additive generator of `digits`, with 64 times as many functions and the same normal noise
(`quantized=false`), has 56 after 40 epochs.
"""

from torch import Tensor

import lvkam_pyro as lv

IMAGE_SHAPE = (8, 8)
"""Rows and columns of one datum, for pictures."""


def build(
    *,
    num_latents: int = 16,
    num_components: int = 1,
    grid_size: int = 5,
    prior_grid_size: int = 5,
    num_outputs: int = 64,
    scale: float = 0.1,
) -> lv.LVKAM:
    """Builds the model.

    Args:
        num_latents: Latents, each of which is an expert.
        num_components: Components of each latent's mixture of energy densities.
        grid_size: Cells of the experts' splines.
        prior_grid_size: Cells of the splines in the prior's energies.
        num_outputs: Pixels.
        scale: The noise's standard deviation to start from, on pixels in [0, 1].
    """
    prior = lv.MixturePrior(
        num_latents, num_components=num_components, basis=lv.BSplineBasis(grid_size=prior_grid_size)
    )
    generator = lv.MixtureOfExperts(
        num_latents, num_outputs, basis=lv.BSplineBasis(grid_size=grid_size)
    )
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(num_outputs, scale=scale))


def load_data(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Loads the images of the program `digits`.

    Args:
        seed: Of their dequantisation and split.
    """
    return lv.programs.load_program("model", "digits").load_data(seed=seed)
