"""Look-ahead: nearly exact posterior draws of an additive model train it; there is no encoder."""

import lvkam_pyro as lv


def build(
    *,
    num_particles: int = 8,
    num_nodes: int = 64,
    smoothness: float = 3.0,
    num_epochs: int = 120,
    patience: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    max_gradient_norm: float = 10.0,
    num_evidence_particles: int = 2048,
    num_replicates: int = 16,
) -> lv.Recipe:
    """Builds the recipe: maximum likelihood with self-normalised look-ahead particles.

    For models with one layer of functions and normal noise; others are refused with the reason.

    Args:
        num_particles: Particles a datum and update.
        num_nodes: Quadrature nodes of each latent while training.
        smoothness: Penalty on the roughness of the generator's functions, in nats per squared
            second difference of their coefficients.
        num_epochs: Passes over the data.
        patience: End when a tenth of the training data, held out, was fitted no better for so many
            epochs, and keep the best; None: keep the last.
        batch_size: Data an update.
        learning_rate: At the start of its cosine.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        num_evidence_particles: Particles a datum of the evidence estimate.
        num_replicates: Islands of them, for the standard error.
    """
    return lv.Recipe(
        name="lookahead",
        build_guide=lambda model, *x, **named: lv.guides.LookaheadGuide(
            model, num_particles=num_particles, num_nodes=num_nodes
        ),
        objective=lv.EmpiricalBayes(num_particles),
        estimators=(lv.evidence.Lookahead(num_evidence_particles, num_replicates=num_replicates),),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        regularizer=lv.training.Smoothness(smoothness),
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
