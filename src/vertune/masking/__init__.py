"""Replaces personal data and secrets in texts by typed placeholders, with the masks it is given; knows nothing of where texts come from."""

from vertune.masking.masker import Masked, Masker
from vertune.masking.plain import plain
from vertune.masking.standard import standard_masker, standard_names

__all__ = ["Masked", "Masker", "plain", "standard_masker", "standard_names"]
