"""Dictionaries as other libraries store them, one module per library."""

TEMPORALLENS = "temporallens"  # the architecture's name in SAELens, where `temporal` means something else
