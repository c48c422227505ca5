"""Everything about one dictionary by position, as tidy tables."""
