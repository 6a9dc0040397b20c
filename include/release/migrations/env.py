"""What Alembic runs around the steps: on the connection, and in the transaction, that `migrate` holds."""

from __future__ import annotations

from alembic import context


def run() -> None:
    context.configure(connection=context.config.attributes["connection"], render_as_batch=False)
    context.run_migrations()


if __name__ == "env_py":  # Alembic's name for it; anybody else may import it without effect
    run()
