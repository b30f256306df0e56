"""Thermodynamic integration and steppingstone over one ladder."""

import lvkam_pyro as lv


def build(
    *,
    num_temperatures: int | None = None,
    num_chains: int | None = None,
    num_warmup: int | None = None,
    num_samples: int | None = None,
    persistent_chains: bool = False,
    num_steps: int = 5,
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
) -> lv.Recipe:
    """Builds the recipe: evidence from Markov chains between the encoder and the posterior.

    The evidence is an integral over temperatures, but its gradient is not: the derivative of the
    integral is the posterior mean of the derivative, that of temperature one alone (Fisher's
    identity). So the model is trained as by `amortized`, whose particles give that mean for far
    less than a ladder an update, and the ladder is kept for the evidence, where it begins at the
    encoder, or at the prior where there is none.

    With `persistent_chains` a small ladder trains too: its posterior rung takes the place of the
    encoder's particles, and each datum's chains go on from one update to the next. On 200 data of
    two latents a ladder that begins anew at each update takes 7,400 likelihoods of a datum an
    update; one that goes on by five steps takes 720, to the same fit (7.30 and 7.31 nats per
    held-out datum), and by two 530 (7.32). Held-out data begin anew at every epoch, which is most
    of its cost: two epochs of `two_moons` take 80 CPU seconds. Set a small `num_epochs`.

    Args:
        num_temperatures: Rungs of the ladder. With this and the next three left out it has the
            sizes that suit its start; with any of them, powers crowded towards the start.
        num_chains: Chains a rung and datum, whose spread gives the standard error.
        num_warmup: Steps that are thrown away, in which the step sizes adapt.
        num_samples: Draws that are kept, every second step. By default the 360 held-out digits
            take about a minute on one core; for fewer, use `lvkam compare --num-data`.
        persistent_chains: Train on such ladders in the place of an encoder.
        num_steps: Their steps an update.
        num_particles: Particles a datum and update; chains, of such ladders.
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
    """
    usual = lv.ladder.Ladder()
    given = lv.ladder.Ladder(
        num_temperatures=usual.num_temperatures if num_temperatures is None else num_temperatures,
        num_chains=usual.num_chains if num_chains is None else num_chains,
        num_warmup=usual.num_warmup if num_warmup is None else num_warmup,
        num_samples=usual.num_samples if num_samples is None else num_samples,
    )
    ladder = None if given == usual else given
    return lv.Recipe(
        name="thermodynamic",
        build_guide=lambda model, *x, **named: (
            lv.guides.LadderGuide(model, num_steps=num_steps)
            if persistent_chains
            else lv.AmortizedGuide(model, *x, hidden=hidden, **named)
        ),
        objective=lv.EmpiricalBayes(num_particles, sleep_weight=sleep_weight),
        estimators=(
            lv.evidence.ThermodynamicIntegration(ladder),
            lv.evidence.SteppingStone(ladder),
        ),
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        guide_learning_rate=guide_learning_rate,
        max_gradient_norm=max_gradient_norm,
        start=lv.training.start_additive,
        regularizer=lv.training.Smoothness(smoothness),
        early_stopping=None if patience is None else lv.training.EarlyStopping(patience=patience),
    )
