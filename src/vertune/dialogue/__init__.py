"""Rules of conversations: details in texts, flows, and when which reply may be given; independent of models and of the server."""
