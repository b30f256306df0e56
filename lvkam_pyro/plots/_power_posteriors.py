"""Each latent's density on its way from prior to posterior, temperature by temperature."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import gaussian_kde
from torch import Tensor

from lvkam_pyro.checks.pointwise import flatten_latents, latent_names
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import dark_to_light, label_edges, panels, styled

_NUM_RIDGES = 8
_NUM_POINTS = 200
_MAX_LATENTS = 12
_OVERLAP = 1.8
"""Height of a ridge, in distances between ridges."""


@styled
def power_posteriors(
    samples: LadderSamples, *, datum: int = 0, axes: object = None
) -> NDArray[np.object_]:
    r"""The densities :math:`p_t(z_q | x_n)` of one datum: a panel a latent, a ridge a temperature.

    The lowest ridge is the prior (t = 0), the highest the posterior (t = 1); densities are kernel
    estimates from the chains' draws, each scaled to the same height. A latent that the datum says
    nothing of keeps its shape all the way up.

    Args:
        samples: The draws of a `Ladder(keep_path=True)`.
        datum: Index of the datum.
        axes: One axes a latent; None: a new figure. At most 12 latents are drawn.

    Returns:
        The axes.

    Raises:
        ValueError: If the ladder kept no draws below temperature 1, or the axes are too few.
        IndexError: If there is no such datum.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_warmup=20, num_samples=20, keep_path=True)
        >>> axes = lv.plots.power_posteriors(ladder.sample(problem.model, problem.x))
        >>> axes[0].get_title(), axes[0].get_ylabel()
        ('z[0]', 'temperature t')
    """
    if not samples.path:
        raise ValueError(
            "Expected draws at all temperatures, got those at 1 alone. Run the ladder with "
            "Ladder(keep_path=True)."
        )
    draws = _columns(samples.path, datum)
    chosen = np.linspace(0, len(samples.temperatures) - 1, _NUM_RIDGES).round().astype(int)
    chosen = np.unique(chosen)
    temperatures = as_array(samples.temperatures)[chosen]
    all_axes = panels(len(draws), axes, size=(2.4, 2.6))
    for one, (name, values) in zip(all_axes, draws.items(), strict=True):
        _draw_ridges(one, values[chosen])
        one.set_yticks(range(len(chosen)), [f"{t:.2g}" for t in temperatures])
        one.set_title(name)
    label_edges(all_axes, own_figure=axes is None, xlabel="z", ylabel="temperature t")
    return all_axes


def _columns(path: Mapping[str, Tensor], datum: int) -> dict[str, Values]:
    """The draws `(T, D C)` of each of the first latents, by name."""
    latents = {site: value[:, :, :, datum].flatten(0, 1) for site, value in path.items()}
    draws = as_array(flatten_latents(latents)).T
    return dict(list(zip(latent_names(latents), draws, strict=True))[:_MAX_LATENTS])


def _draw_ridges(axes: Axes, draws: Values) -> None:
    low, high = draws.min(), draws.max()
    z = np.linspace(low, high, _NUM_POINTS)
    colours = dark_to_light(len(draws))
    for level in reversed(range(len(draws))):
        # Mirrored at both ends, so that a density does not fall where its support ends.
        mirrored = [draws[level], 2 * low - draws[level], 2 * high - draws[level]]
        spread = draws[level].std() / np.std(mirrored)
        width = len(draws[level]) ** -0.2 * spread
        density = gaussian_kde(np.concatenate(mirrored), width)(z)
        ridge = level + _OVERLAP * density / density.max()
        axes.fill_between(z, level, ridge, color=colours[level], alpha=0.75, linewidth=0)
        axes.plot(z, ridge, color="white", linewidth=0.8)
    axes.set(xlim=(low, high), ylim=(-0.1, len(draws) - 1 + _OVERLAP + 0.1))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
