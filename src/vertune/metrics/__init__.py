"""Metrics of answers; NumPy only."""
