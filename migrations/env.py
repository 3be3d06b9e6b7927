"""Alembic's entry: runs on the connection that `osbkit.store.migrate` hands over."""

from alembic import context

from osbkit.store.tables import metadata, ours

connection = context.config.attributes.get("connection")

if connection is None:  # offline: print the statements of one dialect
    context.configure(
        dialect_name=context.config.get_main_option("dialect"),
        target_metadata=metadata,
        literal_binds=True,
        as_sql=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    context.configure(
        connection=connection, target_metadata=metadata, include_name=ours
    )
    with context.begin_transaction():
        context.run_migrations()
