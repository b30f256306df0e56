"""Flow through a porous medium: permeability and pressure, made by a convolutional generator.

`lvkam fit darcy_flow --set num_epochs=100` reaches 12 nats per held-out pair in 54 CPU seconds by
importance sampling, whose weights are heavy for every datum: a low estimate. A generator that is
no sum of functions leaves the estimators of additive models aside.
"""

import torch
from torch import Tensor, nn

import lvkam_pyro as lv

IMAGE_SHAPE = (32, 16)
"""Rows and columns of one datum, for pictures: the pressure below the permeability."""

_SIZE = 16
_START = 4
_FOLDER = "datasets/data"
_REQUIREMENT = "neuraloperator==0.3.0"


class ConvolutionalGenerator(nn.Module):
    """A torch module in the place of a `KANGenerator`: from latents to two fields of 16 x 16.

    Arguments:
        num_latents: Latents.
        num_channels: Channels of its coarsest field, of 4 x 4.
    """

    def __init__(self, num_latents: int, num_channels: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(num_latents, num_channels * _START**2),
            nn.Unflatten(-1, (num_channels, _START, _START)),
            nn.SiLU(),
            nn.ConvTranspose2d(num_channels, num_channels // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(num_channels // 2, 2, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """The log odds of the permeability, then the mean pressure, of shape `(..., 512)`."""
        fields: Tensor = self.network(z.reshape(-1, z.shape[-1]))
        return fields.view(*z.shape[:-1], 2 * _SIZE**2)


def build(
    *,
    num_latents: int = 16,
    num_components: int = 1,
    prior_grid_size: int = 5,
    num_channels: int = 64,
    scale: float = 0.1,
) -> lv.LVKAM:
    """Builds the model.

    Args:
        num_latents: Latents.
        num_components: Components of each latent's mixture of energy densities.
        prior_grid_size: Cells of the splines in the prior's energies.
        num_channels: Channels of the generator's coarsest field.
        scale: The noise's standard deviation to start from, in standard deviations of the pressure.

    Raises:
        ValueError: If there are fewer than two channels, or another number is out of its range.
    """
    if num_channels < 2:
        raise ValueError(f"num_channels must be at least 2; got {num_channels}.")
    basis = lv.BSplineBasis(grid_size=prior_grid_size)
    prior = lv.MixturePrior(num_latents, num_components=num_components, basis=basis)
    likelihood = lv.JointLikelihood(
        [lv.BernoulliLikelihood(_SIZE**2), lv.NormalLikelihood(_SIZE**2, scale=scale)]
    )
    return lv.LVKAM(prior, ConvolutionalGenerator(num_latents, num_channels), likelihood)


def load_data(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Loads 800 pairs of fields to train on and 200 to hold out, each as a vector of 512.

    First comes the permeability on 16 x 16 points, one of two values, as zeros and ones; then the
    pressure there, the solution of Darcy's equation, divided by its standard deviation. They are
    those of neuraloperator (Li et al. 2021, Fourier neural operator, section 5.2,
    https://arxiv.org/abs/2010.08895).

    Args:
        seed: Of the split.
    """
    path = f"{_FOLDER}/darcy_train_16.pt"
    file = lv.programs.find_package_file("neuralop", path, requirement=_REQUIREMENT)
    fields = torch.load(file, weights_only=True)
    pressure = fields["y"].flatten(1)
    pairs = torch.cat([fields["x"].flatten(1).float(), pressure / pressure.std()], 1)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    return pairs[order[200:]], pairs[order[:200]]
