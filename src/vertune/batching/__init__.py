"""Groups the inputs of a model (features) into batches; uses NumPy and never imports torch."""
