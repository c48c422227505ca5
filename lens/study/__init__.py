"""Measures in; tables, figures, claims, notebooks and the paper out. The only room that writes results."""
