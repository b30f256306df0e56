"""The one place where the kinds of things that ArviZ can be given are told apart."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import xarray as xr

Groups = Mapping[str, xr.Dataset]
"""Name of each group, such as `posterior`, to its dataset."""


@singledispatch
def arviz_groups(source: object, *args: Any, **options: Any) -> Any:  # noqa: ANN401
    """The groups that `to_arviz` makes of an object, before they are labelled and joined.

    Register a function for a class of your own and `to_arviz` takes its instances.

    Args:
        source: What to convert.
        *args: What the model is called with, where the source needs it.
        **options: Those of this kind of source.

    Returns:
        `Groups`, or for a source of several models `Groups` by the models' names.

    Raises:
        TypeError: If there is no conversion of such an object.

    Example:
        >>> import torch, xarray as xr
        >>> class Coin:
        ...     heads = torch.rand(4, 100)
        >>> @arviz_groups.register
        ... def coin_groups(source: Coin):
        ...     heads = (("chain", "draw"), source.heads)
        ...     return {"posterior": xr.Dataset({"heads": heads})}
        >>> arviz_groups(Coin())["posterior"]["heads"].sizes["draw"]
        100
    """
    raise TypeError(
        "Expected a model, fit, Particles, LadderSamples, Evidence, EvidenceComparison, Pyro's "
        f"MCMC, SVI or AutoGuide, or a dictionary of draws, got {type(source).__name__}. "
        "Draws of other libraries go by arviz.from_dict, classes of your own by "
        "arviz_groups.register."
    )
