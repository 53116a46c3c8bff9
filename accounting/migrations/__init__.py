"""The history of the store's schema: Alembic's environment, and a module for each version."""
