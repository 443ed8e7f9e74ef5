"""Runs apps: opens packs, asks models, keeps conversations, trains and evaluates; independent of HTTP."""
