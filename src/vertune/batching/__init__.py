"""Groups features into batches; uses NumPy only."""
