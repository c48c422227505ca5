"""Activations in, trained dictionaries out."""
