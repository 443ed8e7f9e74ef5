"""Predictions with many verticals (fine-tuned models) in one process, computed in common batches; independent of HTTP."""
