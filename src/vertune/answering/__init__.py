"""Predicts with many fine-tuned models in one process, with inputs of different requests in common batches; independent of HTTP."""
