"""From data to a fitted model: objective, loop, recipe, checkpoint."""
