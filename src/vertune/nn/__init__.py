"""Torch code that several parts (pluggable components) share. Importing this package alone does not import torch."""
