"""Queues that share capacity fairly among clients and group requests into batches; independent of models."""
