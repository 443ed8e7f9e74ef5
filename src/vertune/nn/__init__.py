"""Torch code that several parts (pluggable components, such as tasks) use. Importing only this package does not load torch."""
