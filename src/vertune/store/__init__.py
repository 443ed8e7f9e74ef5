"""Databases of the server; independent of HTTP."""
