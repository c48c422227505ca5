"""Dictionaries and activations in, measures and statistics out: pure functions on arrays."""
