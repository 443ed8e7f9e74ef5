"""Measures how good a model's answers are, and decides whether a model may replace another."""
