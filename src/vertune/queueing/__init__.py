"""Queues: the order among customers, and which requests share a batch; knows nothing of models."""
