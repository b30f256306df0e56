"""The amortised guide: one network proposes the latents of every datum."""

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.modules.encoder import Encoder, as_features
from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.structure import ProgramStructure


class AmortizedGuide(PyroModule):
    r"""A Pyro guide :math:`q(z_n \mid x_n)` for any model with a data plate.

    Each latent site has an `Encoder`: a network from a datum to a normal proposal, mapped
    to the site's support (logit-normal on the interval of a bounded prior). Its parameters exist
    from the start, so optimisers may take them at once.

    Arguments:
        model: The Pyro model, run to find its latent sites and their supports.
        *args: Its arguments: data of the kind to propose for, of shape `(N, ...)`, and covariates.
            The encoders see all tensors that have a row for each datum, beside each other, and
            standardise them by mean and deviation. A model with a method `features`, such as an
            `LVKAM` of categories, says by it what the encoders see of its arguments.
        hidden: Widths of the encoders' hidden layers.
        **kwargs: Its keyword arguments, likewise.

    Raises:
        ValueError: If a latent lies in a plate inside the data plate (declare it as one event
            with `.to_event`), or no argument has a row for each datum, or the model is none that
            particles can be drawn of.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(20, 5)
        >>> guide = AmortizedGuide(model, x, hidden=(32,))
        >>> lv.draw_particles(model, guide, x, num_particles=8).latents["z"].shape
        torch.Size([8, 20, 3])
    """

    def __init__(
        self, model: Program, *args: Any, hidden: Sequence[int] = (128, 128), **kwargs: Any
    ) -> None:
        super().__init__()
        program = bind(model, *args, **kwargs)
        structure = program.structure
        _check_no_inner_plates(structure)
        self._features = getattr(model, "features", None)
        self.places = _places_of_rows(program.arguments, program.num_units)
        rows = self._rows(program.arguments)
        self.data_plate = structure.data_plate
        self.subsample_size = program.subsample_size
        self.data_dim = structure.data_dim
        self.names = tuple(site.name for site in structure.latents)
        self.encoders = nn.ModuleList(
            Encoder(rows, site.unconstrained_shape, site.support, hidden=hidden)
            for site in structure.latents
        )

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site for the model's arguments, `N` rows each."""
        features = self._rows(Arguments(args, kwargs))
        rows = features.reshape(len(features), *[1] * (-self.data_dim - 1), -1)
        size, dim = self.subsample_size, self.data_dim
        with pyro.plate(self.data_plate, len(features), size, dim=dim) as index:
            rows = rows if size is None else rows[index]
            return {
                name: pyro.sample(name, encoder(rows))
                for name, encoder in zip(self.names, self.encoders, strict=True)
            }

    def _rows(self, arguments: Arguments) -> Tensor:
        """The features of each datum that the encoders see, `(N, F)`."""
        if self._features is not None:
            return as_features(self._features(*arguments.args, **arguments.kwargs))
        tensors = arguments.tensors
        parts = [as_features(tensors[place]) for place in self.places]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _check_no_inner_plates(structure: ProgramStructure) -> None:
    """A datum's features say nothing of what lies in plates inside the data plate."""
    for site in structure.latents:
        if site.inner_shape:
            raise ValueError(
                f"Expected latents in the data plate alone, got '{site.name}' inside further "
                f"plates of sizes {tuple(site.inner_shape)}. Declare them as one event with "
                ".to_event(...)."
            )


def _places_of_rows(arguments: Arguments, num_data: int) -> tuple[int, ...]:
    """Which of the tensors have a row for each datum."""
    tensors = enumerate(arguments.tensors)
    places = tuple(place for place, tensor in tensors if tensor.shape[:1] == (num_data,))
    if not places:
        raise ValueError(
            f"Expected an argument with a row for each of the {num_data} units of the model, got "
            f"{[tuple(tensor.shape) for tensor in arguments.tensors]}. Where all data share their "
            "latents there is nothing to amortise: use AutoNormal."
        )
    return places
