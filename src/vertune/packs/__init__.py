"""What a product knows about a field, as data: one folder for each pack."""
