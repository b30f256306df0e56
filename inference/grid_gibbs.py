"""Gibbs sampling: posterior draws of an additive model train it; there is no encoder, no weight."""

import lvkam_pyro as lv


def build(
    *,
    num_particles: int = 8,
    num_sweeps: int = 2,
    num_nodes: int = 64,
    persistent_chains: bool = False,
    smoothness: float = 3.0,
    num_epochs: int = 120,
    patience: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    max_gradient_norm: float = 10.0,
    num_temperatures: int = 16,
    num_chains: int = 16,
    num_warmup: int = 20,
    num_samples: int = 40,
) -> lv.Recipe:
    """Builds the recipe: maximum likelihood with equally weighted posterior draws.

    For models with one layer of functions and normal noise; others are refused with the reason.
    Each update starts from look-ahead draws of its data and moves them by Gibbs sweeps.

    Args:
        num_particles: Posterior draws a datum and update.
        num_sweeps: Sweeps over the latents an update.
        num_nodes: Quadrature nodes of each latent while training.
        persistent_chains: Go on from where each datum's chains stood at its last update, and not
            from look-ahead draws. The fit is the same (to 0.02 nats per datum, on 200 data of two
            latents, already with one sweep), but the loss that is reported is then minus the
            expected log density of data and latents.
        smoothness: Penalty on the roughness of the generator's functions, in nats per squared
            second difference of their coefficients.
        num_epochs: Passes over the data.
        patience: End when a tenth of the training data, held out, was fitted no better for so many
            epochs, and keep the best; None: keep the last.
        batch_size: Data an update.
        learning_rate: At the start of its cosine.
        max_gradient_norm: Longer gradients of the loss per datum are shortened to this.
        num_temperatures: Rungs of the evidence's ladder, from the prior to the posterior.
        num_chains: Chains a rung and datum, whose spread gives the standard error.
        num_warmup: Sweeps that are thrown away.
        num_samples: Draws that are kept.
    """
    ladder = lv.ladder.Ladder(
        num_temperatures=num_temperatures,
        num_chains=num_chains,
        num_warmup=num_warmup,
        num_samples=num_samples,
        thinning=1,
        kernel=lv.ladder.GridGibbsKernel(),
    )
    return lv.Recipe(
        name="grid_gibbs",
        build_guide=lambda model, *x, **named: lv.guides.GridGibbsGuide(
            model,
            num_particles=num_particles,
            num_sweeps=num_sweeps,
            num_nodes=num_nodes,
            persistent=persistent_chains,
        ),
        objective=lv.EmpiricalBayes(num_particles),
        estimators=(lv.evidence.GridGibbs(ladder),),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        regularizer=lv.training.Smoothness(smoothness),
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
