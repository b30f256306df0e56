"""Importance sampling from the prior: the recipe of the first LV-KAM, without an encoder."""

import lvkam_pyro as lv


def build(
    *,
    num_particles: int = 512,
    num_epochs: int = 60,
    patience: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    max_gradient_norm: float = 100.0,
    num_evidence_particles: int = 65536,
    num_replicates: int = 32,
) -> lv.Recipe:
    """Builds the recipe: the posterior is reached by weighing draws of the prior.

    All data share the particles, so many are cheap; a posterior far narrower than the prior still
    leaves few of them with weight, which the evidence's diagnostics show.

    Args:
        num_particles: Particles an update.
        num_epochs: Passes over the data.
        patience: End when a tenth of the training data, held out, was fitted no better for so many
            epochs, and keep the best; None: keep the last.
        batch_size: Data an update.
        learning_rate: Of Adam, at the start of its cosine.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        num_evidence_particles: Particles of the evidence estimate.
        num_replicates: Independent parts of them, for the standard error.
    """
    return lv.Recipe(
        name="importance",
        build_guide=lambda model, *x, **named: lv.PriorGuide(model),
        objective=lv.EmpiricalBayes(num_particles),
        estimators=(lv.evidence.Importance(num_evidence_particles, num_replicates=num_replicates),),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
