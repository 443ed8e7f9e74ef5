"""The lexical companion: a linear model of words and character n-grams whose scores are added to a model's outputs.

Except for `fitting` and `fitting_tags`, the modules import only NumPy, the standard library and vertune's own modules of this kind, so an
exported model can include their source files.
"""
