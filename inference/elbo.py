"""Variational inference as in Pyro: an encoder and the evidence lower bound."""

from pyro.infer import Trace_ELBO

import lvkam_pyro as lv


def build(
    *,
    num_particles: int = 1,
    num_epochs: int = 100,
    patience: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    guide_learning_rate: float = 0.002,
    max_gradient_norm: float = 100.0,
    hidden: tuple[int, ...] = (256, 256),
    num_evidence_particles: int = 1024,
) -> lv.Recipe:
    """Builds the recipe: Pyro's Trace_ELBO, for comparison with the others.

    The bound is below the evidence by the Kullback-Leibler divergence of the encoder from the
    posterior, and no number of particles closes that gap.

    Args:
        num_particles: Particles a datum and update.
        num_epochs: Passes over the data.
        patience: End when a tenth of the training data, held out, was fitted no better for so many
            epochs, and keep the best; None: keep the last.
        batch_size: Data an update.
        learning_rate: Of the model, at the start of its cosine.
        guide_learning_rate: Of the encoder.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        hidden: Widths of the encoder's hidden layers.
        num_evidence_particles: Particles a datum of the bound's estimate.
    """
    return lv.Recipe(
        name="elbo",
        build_guide=lambda model, *x, **named: lv.AmortizedGuide(model, *x, hidden=hidden, **named),
        objective=Trace_ELBO(num_particles, vectorize_particles=True),
        estimators=(lv.evidence.ELBO(num_evidence_particles),),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        guide_learning_rate=guide_learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
