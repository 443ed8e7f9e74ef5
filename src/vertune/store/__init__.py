"""The API keys of the server and their database; independent of HTTP."""
