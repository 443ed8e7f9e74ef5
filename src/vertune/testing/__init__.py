"""Tiny models and the contract tests, which plugin authors run too."""
