"""Tiny models, and checks that a part (a pluggable component) obeys its contract, for the tests of vertune and of plugins."""
