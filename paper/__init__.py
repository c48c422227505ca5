"""This one paper: its claims, their evidence, and its text."""
