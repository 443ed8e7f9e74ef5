"""Readers of documents and FAQs, one file a format; none knows of passages."""
