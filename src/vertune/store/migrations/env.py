"""Called by Alembic to run migrations on the connection that it was given; independent of what they change."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
