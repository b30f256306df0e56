"""The amortised guide: one network proposes the latents of every datum."""

from collections.abc import Callable, Sequence

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.modules.encoder import Encoder, as_features
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.structure import ProgramStructure


class AmortizedGuide(PyroModule):
    r"""A Pyro guide :math:`q(z_n \mid x_n)` for any model with a data plate.

    Each latent site has an `Encoder`: a network from a datum to a normal proposal, mapped
    to the site's support (logit-normal on the interval of a bounded prior). Its parameters exist
    from the start, so optimisers may take them at once.

    Arguments:
        model: The Pyro model, run to find its latent sites and their supports.
        x: Data of the kind to propose for, of shape `(N, ...)`; the encoders' inputs are
            standardised by its mean and deviation. A model with a method `features`, such as an
            `LVKAM` of categories, says by it what the encoders see of data.
        hidden: Widths of the encoders' hidden layers.

    Raises:
        ValueError: If a latent lies in a plate inside the data plate (declare it as one event
            with `.to_event`), or the model is none that particles can be drawn of.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(20, 5)
        >>> guide = AmortizedGuide(model, x, hidden=(32,))
        >>> lv.draw_particles(model, guide, x, num_particles=8).latents["z"].shape
        torch.Size([8, 20, 3])
    """

    def __init__(self, model: Program, x: Tensor, *, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        structure = bind(model, x).structure
        _check_no_inner_plates(structure)
        self._features: Callable[[Tensor], Tensor] = getattr(model, "features", _identity)
        rows = self._features(x)
        self.data_plate = structure.data_plate
        self.data_dim = structure.data_dim
        self.names = tuple(site.name for site in structure.latents)
        self.encoders = nn.ModuleList(
            Encoder(rows, site.unconstrained_shape, site.support, hidden=hidden)
            for site in structure.latents
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Draw every latent site for data `x` of shape `(N, ...)`."""
        encoders = self.encoders
        rows = as_features(self._features(x)).reshape(len(x), *[1] * (-self.data_dim - 1), -1)
        with pyro.plate(self.data_plate, len(x), dim=self.data_dim):
            return {
                name: pyro.sample(name, encoder(rows))
                for name, encoder in zip(self.names, encoders, strict=True)
            }


def _identity(x: Tensor) -> Tensor:
    return x


def _check_no_inner_plates(structure: ProgramStructure) -> None:
    """A datum's features say nothing of what lies in plates inside the data plate."""
    for site in structure.latents:
        if site.inner_shape:
            raise ValueError(
                f"Expected latents in the data plate alone, got '{site.name}' inside further "
                f"plates of sizes {tuple(site.inner_shape)}. Declare them as one event with "
                ".to_event(...)."
            )
