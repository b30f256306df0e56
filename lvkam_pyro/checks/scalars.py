"""Every scalar of every latent by itself, with a name."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def flatten_latents(latents: Mapping[str, Tensor]) -> Tensor:
    """All latents side by side.

    Args:
        latents: Site name to draws `(D, N, *)`.

    Returns:
        Draws `(D, N, Q)`.

    Example:
        >>> flatten_latents({"z": torch.zeros(5, 4, 2), "w": torch.zeros(5, 4)}).shape
        torch.Size([5, 4, 3])
    """
    return torch.cat([value.reshape(*value.shape[:2], -1) for value in latents.values()], -1)


def latent_names(latents: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A name for each of them, as ArviZ's tables call them.

    Args:
        latents: Site name to draws `(D, N, *)`.

    Example:
        >>> latent_names({"z": torch.zeros(5, 4, 2), "w": torch.zeros(5, 4)})
        ('z[0]', 'z[1]', 'w')
    """
    return tuple(
        name + (f"[{', '.join(map(str, index))}]" if index else "")
        for name, value in latents.items()
        for index in np.ndindex(*value.shape[2:])
    )
