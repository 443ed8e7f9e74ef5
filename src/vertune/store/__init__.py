"""Databases of a server; knows nothing of HTTP."""
