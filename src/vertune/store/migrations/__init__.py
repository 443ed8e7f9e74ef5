"""The migrations of the server's database, which Alembic runs; each file in `versions` changes the tables from one revision to the next."""
