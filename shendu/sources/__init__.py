"""Streams of samples."""
