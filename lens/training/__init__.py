"""Training: recipe, objective, optimiser, runs, checkpoints."""
