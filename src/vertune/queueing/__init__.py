"""Whose turn it is and which requests share a batch; knows nothing of models."""
