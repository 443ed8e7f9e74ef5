"""Queries: components that choose which records people label next (active learning); one module per query."""
