"""How features are put together into batches; NumPy only."""
