# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Alembic runs the migrations: on the connection that the program hands over, in its transaction."""

from alembic import context

from kubestead.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
