"""Readers of the scene formats of other programs."""
