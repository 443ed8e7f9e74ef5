"""Torch modules that several parts share; torch is imported in the modules of this folder, never by this file."""
