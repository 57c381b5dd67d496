"""What all tables share.

Bodies are JSON as bytes and are never looked into here. Times are Unix seconds unless a table says otherwise. `seq`
grows with every insert: it keeps the order of rows that were made in the same second. Every object belongs to one
project and is deleted with it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

#: SQLite numbers rows by itself only in a column of exactly the type INTEGER; it is 64 bits wide there too.
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

#: The condition of partial indexes over what expires. Text, because SQLite uses such an index only for literally the
#: same condition.
EXPIRES = "expires_at IS NOT NULL"

# One row, which is written to find out whether anything can be.
probes = Table(
    "probes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)
