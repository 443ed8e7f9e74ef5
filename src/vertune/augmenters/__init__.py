"""Augmenters, which make additional training rows: one file per augmenter."""
