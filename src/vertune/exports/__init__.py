"""Forms for other software: one file a form."""
