"""Dictionaries as other libraries store them, one module per library."""
