"""Reweighted wake-sleep: an encoder proposes the latents of each datum. The default recipe."""

from lvkam_pyro.evidence.importance import ImportanceEvidence
from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.training.objective import EmpiricalBayes
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.start import start_additive


def build(
    *,
    num_particles: int = 8,
    num_epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    guide_learning_rate: float = 0.002,
    max_gradient_norm: float = 100.0,
    hidden: tuple[int, ...] = (128, 128),
    num_evidence_particles: int = 4096,
    num_replicates: int = 32,
) -> Recipe:
    """Builds the recipe: maximum likelihood with particles of a trained encoder.

    Bornschein and Bengio 2015, Reweighted Wake-Sleep, https://arxiv.org/abs/1406.2751, with the
    wake phase for both the model and the encoder.

    Args:
        num_particles: Particles a datum and update.
        num_epochs: Passes over the data.
        batch_size: Data an update.
        learning_rate: Of the model, at the start of its cosine.
        guide_learning_rate: Of the encoder.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        hidden: Widths of the encoder's hidden layers.
        num_evidence_particles: Particles a datum of the evidence estimate.
        num_replicates: Independent parts of them, for the standard error.
    """
    return Recipe(
        name="amortized",
        build_guide=lambda model, x: AmortizedGuide(model, x, hidden=hidden),
        objective=EmpiricalBayes(num_particles),
        estimators=(ImportanceEvidence(num_evidence_particles, num_replicates=num_replicates),),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        guide_learning_rate=guide_learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=start_additive,
    )
