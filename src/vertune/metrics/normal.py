"""The normal distribution, as far as intervals need it."""

from __future__ import annotations

QUANTILE = 1.959963984540054
"""Quantile of the standard normal distribution for the upper end of a 95 % interval."""
