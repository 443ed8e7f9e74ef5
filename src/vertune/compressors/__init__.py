"""The ways to shrink a model, one file each."""
