"""Does a pipeline number positions as its user thinks? Tokens, padding, packing, context and dictionary, checked."""
