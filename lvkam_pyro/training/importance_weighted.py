"""The importance-weighted bound, with the doubly reparameterised gradient of its guide."""

import math
from typing import Any

from torch import Tensor

from lvkam_pyro.evidence.importance import check_reparameterized
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.structure import ProgramStructure
from lvkam_pyro.training.objective import ParticleObjective


class ImportanceWeightedBound(ParticleObjective):
    r"""The bound of importance-weighted autoencoders, climbed by model and guide alike.

    .. math:: \mathcal{L}_S(x_n) = \mathbb{E} \log \frac{1}{S} \sum_{s=1}^{S} w_{sn}
              \le \log p(x_n), \qquad w_{sn} = \frac{p(x_n, z_{sn})}{q(z_{sn} \mid x_n)}

    (Burda et al. 2016, https://arxiv.org/abs/1509.00519, equation 8.) Its gradient in the model's
    parameters is :math:`\sum_s \bar w_{sn} \nabla_\theta \log p(x_n, z_{sn})`. That in the guide's,

    .. math:: \nabla_\phi \mathcal{L}_S = \mathbb{E} \sum_s \bar w_{sn}^2 \,
              \frac{\partial \log w_{sn}}{\partial z_{sn}} \frac{d z_{sn}}{d \phi},

    is doubly reparameterised (Tucker et al. 2019, https://arxiv.org/abs/1810.04152, section 3):
    the score of the guide is gone, so that the signal does not drown in noise as S grows, and at
    the exact posterior the gradient is exactly zero. The guide draws by ``rsample``. It is run
    three times an update, the model once.

    ``ImportanceWeightedBound()(model, guide)`` is a torch module, as that of `EmpiricalBayes`.

    Arguments:
        num_particles: Particles per datum `S`.

    Raises:
        ValueError: If `num_particles` is below 2; when called, if the guide has parameters that
            its draws do not depend on.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(10, 5)
        >>> bound = lv.training.ImportanceWeightedBound(16)(model, lv.AmortizedGuide(model, x))
        >>> bound(x).backward()
        >>> model.prior.functions.coefficients.grad.isfinite().all()
        tensor(True)
    """

    def __init__(self, num_particles: int = 8) -> None:
        super().__init__(num_particles)

    def loss_of(self, program: BoundProgram, guide: Program) -> Tensor:
        """Minus the bound, a scalar in nats, scaled to the whole plate."""
        paths = _WeighedPaths(guide, program.structure)
        particles = program.draw(paths, self.num_particles)
        check_reparameterized(particles)
        self._remember(particles)
        log_weights = particles.log_weights
        paths.weights = log_weights.detach().softmax(0)
        # Taken off: the gradient of the guide's density other than along the draws.
        score = paths.log_density_of_detached(program)
        terms = paths.weights * (log_weights + score)
        bound = log_weights.detach().logsumexp(0) - math.log(self.num_particles)
        return -particles.data_scale * (bound.sum() + terms.sum() - terms.detach().sum())


class _WeighedPaths:
    """A guide whose draws pass on the gradient that reaches them times their particle's weight.

    It draws in a first run and scores the draws in a second, so that where a later draw depends on
    an earlier one the gradient is weighed once on its way.
    """

    weights: Tensor

    def __init__(self, guide: Program, structure: ProgramStructure) -> None:
        self.guide = guide
        self.structure = structure
        self._detached: dict[str, Tensor] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        with SiteRecorder() as drawn:
            self.guide(*args, **kwargs)
        values = {name: site["value"] for name, site in drawn.latents.items()}
        self._detached = {name: value.detach() for name, value in values.items()}
        self._detached.update(drawn.subsamples)
        weighed = {name: self._weigh_gradient(value) for name, value in values.items()}
        with SiteRecorder({**drawn.subsamples, **weighed}):
            self.guide(*args, **kwargs)

    def log_density_of_detached(self, program: BoundProgram) -> Tensor:
        """The guide's log density `(S, U)` at draws that carry no gradient."""
        num_particles = len(self.weights)
        run = program.record_guide(self.guide, num_particles, self._detached)
        return program.sum(run.sites, num_particles)

    def _weigh_gradient(self, value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        path = value.view_as(value)
        path.register_hook(lambda gradient: gradient * self._weights_like(gradient))
        return path

    def _weights_like(self, value: Tensor) -> Tensor:
        """The weights with an axis for every plate and every axis of the event."""
        num_particles, num_data = self.weights.shape
        plates = [1] * self.structure.num_plates
        plates[self.structure.data_dim] = num_data
        event = [1] * (value.ndim - 1 - len(plates))
        return self.weights.view(num_particles, *plates, *event)
