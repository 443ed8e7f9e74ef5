"""Decoders: functions that convert the outputs of a model to answers, one module per task.

Besides modules of vertune, they import only NumPy and the standard library, so an exported model can include their
source files.
"""
