"""Figures of a model over a whole split, and how sure they are."""
