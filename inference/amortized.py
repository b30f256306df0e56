"""Reweighted wake-sleep: an encoder proposes the latents of each datum. The default recipe.

On `digits`, 30 CPU seconds of it reach 95.3 nats per held-out image and 97.2 on the training data.
"""

import lvkam_pyro as lv


def build(
    *,
    num_particles: int = 8,
    sleep_weight: float = 1.0,
    smoothness: float = 3.0,
    num_epochs: int = 400,
    patience: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    guide_learning_rate: float = 0.002,
    max_gradient_norm: float = 10.0,
    hidden: tuple[int, ...] = (256, 256),
    num_evidence_particles: int | None = None,
    num_replicates: int = 32,
) -> lv.Recipe:
    """Builds the recipe: maximum likelihood with particles of a trained encoder.

    Bornschein and Bengio 2015, Reweighted Wake-Sleep, https://arxiv.org/abs/1406.2751: the model
    learns by the wake phase, the encoder by wake and sleep.

    Args:
        num_particles: Particles a datum and update.
        sleep_weight: Weight of the encoder's sleep phase, on data that the model dreams.
        smoothness: Penalty on the roughness of the generator's functions, in nats per squared
            second difference of their coefficients.
        num_epochs: Passes over the data.
        patience: End when a tenth of the training data, held out, was fitted no better for so many
            epochs, and keep the best; None: keep the last.
        batch_size: Data an update.
        learning_rate: Of the model, at the start of its cosine.
        guide_learning_rate: Of the encoder.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        hidden: Widths of the encoder's hidden layers.
        num_evidence_particles: Particles a datum of an importance estimate of the evidence by the
            encoder alone; None: by `Auto`, from the encoder's particles to a ladder as far as each
            datum needs it. The 360 held-out digits take it a minute on one core.
        num_replicates: Independent parts of the particles, for the standard error.
    """
    estimator = (
        lv.evidence.Auto()
        if num_evidence_particles is None
        else lv.evidence.Importance(num_evidence_particles, num_replicates=num_replicates)
    )
    return lv.Recipe(
        name="amortized",
        build_guide=lambda model, *x, **named: lv.AmortizedGuide(model, *x, hidden=hidden, **named),
        objective=lv.EmpiricalBayes(num_particles, sleep_weight=sleep_weight),
        estimators=(estimator,),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        guide_learning_rate=guide_learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        regularizer=lv.training.Smoothness(smoothness),
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
