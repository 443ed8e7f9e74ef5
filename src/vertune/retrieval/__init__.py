"""Passages of documents and FAQs, and the index that finds them; independent of models, which hand their vectors over."""
