"""Groups features (model inputs) into batches; imports NumPy and no torch."""
