"""Position terms, one file each; see `lens.dictionaries.parts.PositionTerm`."""
