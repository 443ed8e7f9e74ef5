"""Decoders convert the outputs of a head to answers, one module per task; they use only NumPy, so a portable bundle ships them as is."""
