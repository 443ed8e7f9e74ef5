"""Augmenters: components that make additional training rows from existing ones; one module per augmenter."""
