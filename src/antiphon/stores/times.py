"""The database's clock in statements, in Unix milliseconds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class database_now(FunctionElement[int]):  # noqa: N801 - it is used as SQLAlchemy's functions are
    """What time it is for the database.

    On PostgreSQL that of the server, for all that share it. SQLite has no clock but its machine's: the driver defines
    `now_ms` for it. As a subquery it is asked once for each statement, not once for each row.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _on_postgresql(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"


@compiles(database_now, "sqlite")
def _on_sqlite(_element: Any, _compiler: Any, **_: Any) -> str:
    return "(SELECT now_ms())"
