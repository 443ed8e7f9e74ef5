"""Predictions of many verticals in one process, computed in common batches; independent of HTTP."""
