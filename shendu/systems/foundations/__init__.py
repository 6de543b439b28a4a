"""Neurons and the first networks."""
