"""Compressors, which make a trained model smaller or faster: one file per compressor."""
