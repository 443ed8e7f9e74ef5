"""What a server keeps in databases; knows nothing of HTTP."""
