"""The database."""

from __future__ import annotations

from antiphon.domain.limits.sizes import MIB

# --- the store --------------------------------------------------------------------------------------------------------
#: Write operations that wait for the group commit. More are refused with 503.
MAX_PENDING_WRITES = 20_000
#: Write operations of one group commit.
MAX_GROUP_COMMIT = 512
#: How long SQLite waits for another process's write lock; and while the database is known to take no writes.
STORE_BUSY_TIMEOUT = 5.0
STORE_BUSY_TIMEOUT_HURRIED = 1.0
#: How long a transaction may stand still between two statements, which take a millisecond (PostgreSQL).
STORE_IDLE_TIMEOUT = 5.0
#: That the database takes writes is believed for this long; then it is tried again while calls go on,
STORE_PROOF = 1.0
#: and after this long a new call waits for the outcome,
STORE_PROOF_STALE = 5.0
#: for no longer than this.
STORE_PROBE_WAIT = 3.0
#: Between two tries while it takes none.
STORE_PROBE_TICK = 1.0
#: With less room than this on its disk, nothing new is begun: what is under way can still be stored.
STORE_MIN_FREE = 8 * MIB
#: Reads that wait for a free reader. More are refused with 503.
MAX_PENDING_READS = 20_000
#: Threads that read, each with a connection of its own. Reads are short, and the machine is small.
STORE_READERS = 3
#: Deleted content is taken out of SQLite's write-ahead log within this time.
STORE_ERASE_WITHIN = 5.0
#: SQLite's log file is cut back to this size when it is used anew.
STORE_JOURNAL_SIZE = 64 * MIB
#: Copies of the database file that are kept from before migrations.
STORE_BACKUPS = 5
#: How long a start waits for another process that is migrating the same database.
STORE_MIGRATION_WAIT = 300.0
#: Reaching a database server.
STORE_CONNECT_TIMEOUT = 5.0
#: One statement on a database server.
STORE_STATEMENT_TIMEOUT = 30.0
#: An id, in bytes: far more than any of ours, and short enough for PostgreSQL to index (2,704 bytes for a whole entry).
MAX_ID = 512
#: Metadata of one object, in characters (published specification, Metadata): keys, values.
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
