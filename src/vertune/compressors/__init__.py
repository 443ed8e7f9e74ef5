"""Compressors: components that make a trained model smaller or faster; one file per compressor."""
