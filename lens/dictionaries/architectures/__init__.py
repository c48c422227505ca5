"""Architectures, one file each; see `lens.dictionaries.parts.Architecture`."""
