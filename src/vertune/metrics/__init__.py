"""Metrics that compare predictions with expected answers; they use only NumPy."""
