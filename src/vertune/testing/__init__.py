"""Tiny models and the contract checks of parts (pluggable components), for the tests of vertune and of plugin authors."""
