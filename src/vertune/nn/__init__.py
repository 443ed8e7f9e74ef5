"""Torch code that several components (such as tasks, fine-tuning methods and compressors) share.

Importing only this package does not load torch; importing its modules does.
"""
