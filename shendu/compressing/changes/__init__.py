"""Kinds of change: one kind, one file."""
