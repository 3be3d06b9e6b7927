"""Whether a database finds rows by an index."""

import json

import sqlalchemy as sa


def uses_an_index(db: sa.Connection, table: str, where: str) -> bool:
    """Whether a look-up would not read the whole table.

    The table holds a row; PostgreSQL and MariaDB would rather read a table as small
    as that, so the one is told not to, and the other asked what it could use.
    """
    query = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608
    match db.dialect.name:
        case "sqlite":
            plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
            return f"SEARCH {table} USING" in str(plan)
        case "postgresql":
            db.exec_driver_sql("SET enable_seqscan = off")
            plan = db.exec_driver_sql(f"EXPLAIN {query}").all()
            db.exec_driver_sql("SET enable_seqscan = on")
            return "Index Scan" in str(plan) and "Seq Scan" not in str(plan)
        case _:
            plan = db.exec_driver_sql(f"EXPLAIN FORMAT=JSON {query}").scalar_one()
            block = json.loads(plan)["query_block"]
            found = (
                block["table"] if "table" in block else block["nested_loop"][0]["table"]
            )
            return bool(found["possible_keys"])
