"""Exports, which write a trained model for other software: one file per target format."""
