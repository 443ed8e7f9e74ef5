"""Exports: components that write a trained model in a format of other software; each format is one module of this package."""
