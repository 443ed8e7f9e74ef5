"""Formats: the forms in which labelled records are written for other software, one file each."""
