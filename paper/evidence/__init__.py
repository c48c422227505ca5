"""Per-claim measurements: from a study's tables to readings with intervals."""
