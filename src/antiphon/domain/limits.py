"""Every size, count, depth and wait that Antiphon allows, each with its reason. Nothing here is unlimited.

Sizes are bytes, waits are seconds.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# --- what a client may send -------------------------------------------------------------------------------------------
#: One JSON body. OpenAI's own limit for a request with inlined files is 50 MB.
MAX_BODY = 50 * MIB
#: Request line and headers together; OpenAI asks for less than 64 KiB.
MAX_HEADERS = 64 * KIB
#: Nesting of a JSON body. Deeper than any real schema, and far from the interpreter's recursion limit.
MAX_JSON_DEPTH = 128
#: Values in one JSON body. "[]," costs three bytes of body and sixty of memory.
MAX_JSON_VALUES = 2_000_000
#: Input items of one response. More is a loop gone wrong.
MAX_INPUT_ITEMS = 10_000
#: Responses followed by previous_response_id.
MAX_CHAIN = 1_000
#: Items of a conversation that a response can be made in. More would not fit into any model's context.
MAX_CONVERSATION_ITEMS = 10_000
#: `X-Client-Request-Id`, in ASCII characters (OpenAI's documented limit).
MAX_CLIENT_REQUEST_ID = 512
#: `limit` of list endpoints.
MAX_PAGE = 100
DEFAULT_PAGE = 20

#: Characters of an error's message, most of which quote what was sent.
MAX_ERROR_MESSAGE = 2_000

#: Items of earlier responses that are remembered in memory, as bytes of JSON.
HISTORY_CACHE = 32 * MIB

# --- how long anything may take ---------------------------------------------------------------------------------------
#: From the first byte of a request's head to its end: a slow sender must not hold a connection for ever.
HEAD_TIMEOUT = 15.0
#: Between two pieces of a body.
BODY_TIMEOUT = 30.0
#: A whole body: 50 MiB take this long on a line of 700 kbit/s. Without it, a byte now and then would do for ever.
BODY_TOTAL_TIMEOUT = 600.0
#: An idle connection is kept this long for the next request.
KEEP_ALIVE_TIMEOUT = 75.0
#: After a stop signal: this long to finish what is running; then it is ended with a stored error.
DRAIN_TIMEOUT = 20.0
#: After that, this long for the last writes and closes.
CLOSE_TIMEOUT = 5.0
#: A client that takes none of its stream for this long has gone.
SEND_TIMEOUT = 120.0
#: A revoked key stops working within this time (keys are remembered in memory between two looks at the database).
KEY_CACHE_TTL = 2.0
#: Keys remembered in memory.
KEY_CACHE_SIZE = 10_000
#: Between two writes of when keys were last used.
LAST_USED_TICK = 60.0
#: Scopes, models or networks that one key names. They are looked through for every call.
MAX_KEY_ENTRIES = 100
#: How long a key may go on working after it was replaced.
MAX_KEY_OVERLAP = 90 * 24 * 3600

# --- rate limits ------------------------------------------------------------------------------------------------------
#: The highest rate that can be set; as OpenAI's object must name a number, this one stands for no limit.
MAX_RATE = 1_000_000_000
#: Output tokens that are held for a request that does not say how many it wants.
RATE_OUTPUT_DEFAULT = 1_024
#: Output tokens that are held at most: few answers come near to what their requests allow.
RATE_OUTPUT_CAP = 16_384
#: Counters in memory. Those that were not asked for the longest are forgotten first.
MAX_RATE_COUNTERS = 100_000
#: Models that one key, project or user has limits for. They are all read when one of its keys is looked up.
MAX_RATE_LIMITS = 1_000

# --- what is to be seen of it -----------------------------------------------------------------------------------------
#: Series of one metric. All further label values share one more, so that no client can fill a server's memory or
#: whoever collects the metrics.
MAX_SERIES = 500
#: The same for histograms, each of which is twenty lines.
MAX_HISTOGRAMS = 200
#: Between two looks at how late the event loop is. Short enough to meet most hiccups, and far from costing anything.
LOOP_LAG_EVERY = 0.1

# --- compaction -------------------------------------------------------------------------------------------------------
#: Tokens of one summary, in a context that is large enough.
MAX_SUMMARY_TOKENS = 2_048
#: Pieces of a long conversation, each summarised with the summary of those before it. Each takes the model seconds.
MAX_SUMMARY_PIECES = 64
#: Characters of a compaction item's encrypted content (published specification, CompactionSummaryItemParam).
MAX_SEALED = 20 * MIB

# --- the local engine -------------------------------------------------------------------------------------------------
#: Loading a model file and warming it up.
ENGINE_START_TIMEOUT = 180.0
#: Between two tokens. The prompt's first token may take much longer than the next ones.
ENGINE_TOKEN_TIMEOUT = 300.0
#: Requests waiting for a slot, for each slot. More are refused with 503.
ENGINE_QUEUE_PER_SLOT = 16
#: Restarts in a row before the engine is left down until the next request asks for it again.
ENGINE_MAX_RESTARTS = 5
#: Compiling one schema or grammar of a client, in processor time.
GRAMMAR_TIMEOUT = 0.2
#: Checking one answer against its schema or grammar, in processor time.
SCHEMA_CHECK_TIMEOUT = 1.0
#: Beyond either, for a process that has to wait for its turn on a busy machine.
SCHEMA_PATIENCE = 10.0
#: Starting the process that does both.
SCHEMA_START_TIMEOUT = 20.0
#: Characters of one schema or grammar.
MAX_SCHEMA_CHARS = 256 * KIB
#: Times a model is asked again when its answer does not fit a schema that its engine cannot enforce.
MAX_SCHEMA_RETRIES = 2

# --- upstreams --------------------------------------------------------------------------------------------------------
#: Reaching an upstream.
UPSTREAM_CONNECT = 5.0
#: From the request to its first token: long prompts, and models that think.
UPSTREAM_FIRST = 120.0
#: Between two pieces of a stream.
UPSTREAM_BETWEEN = 60.0
#: A whole stream: as long as something comes, it may go on.
UPSTREAM_STREAM = 3600.0
#: An answer that comes at once. The official clients wait as long by default.
UPSTREAM_ANSWER = 600.0
#: Characters of a service tier's name, as an upstream tells it.
MAX_TIER = 32
#: Further tries of one generation among a route's targets, before its first token. Its fallbacks come after these.
UPSTREAM_RETRIES = 2
#: One whole answer. Images and speech in base64 are the largest.
MAX_UPSTREAM_BODY = 64 * MIB
#: One event of a stream: the last one of a response repeats all of its output.
MAX_UPSTREAM_EVENT = 32 * MIB
#: What is read of an upstream's error, and how long for: it is one small object.
MAX_UPSTREAM_ERROR = 64 * KIB
UPSTREAM_ERROR_WAIT = 5.0
#: Characters of an upstream's own words that a client may read.
MAX_UPSTREAM_WORDS = 500
#: Connections to all upstreams together: each running generation has one, and each takes a file descriptor.
UPSTREAM_CONNECTIONS = 4_096
#: Idle connections without TLS are kept this long: common servers close theirs after 5 s, and a request must not meet
#: one that is just being closed. Those with TLS cost more to make, and lead to servers that keep them longer.
UPSTREAM_KEEP_ALIVE = 4.0
UPSTREAM_KEEP_ALIVE_TLS = 30.0
#: Times a request is sent again because the connection it was sent on had just been closed by its upstream.
UPSTREAM_STALE = 4
#: After the last event of a stream, its connection is kept this long for its end: only then can it be used again.
UPSTREAM_LINGER = 2.0
#: Output items of one relayed response, and parts of one item: far more than any answer has.
MAX_RELAYED_ITEMS = 4_096
#: Having an upstream count tokens: after this, they are estimated.
UPSTREAM_COUNT = 10.0
#: Prompt and answer together, in tokens, of a model of which that is not configured: most of today's have as much.
UPSTREAM_CONTEXT = 128_000
#: Bytes read ahead of a stream before its upstream has to wait.
UPSTREAM_READ_AHEAD = 256 * KIB
#: A secret, in bytes. Tokens of identity providers are the longest.
MAX_UPSTREAM_SECRET = 16 * KIB
#: Between two looks whether a secret's file has changed.
UPSTREAM_SECRET_CHECK = 1.0
#: The longest `Retry-After` of an upstream that is believed.
UPSTREAM_RETRY_AFTER = 3600

# --- routes -----------------------------------------------------------------------------------------------------------
#: Upstreams, routes, and targets of one route: what a person can still oversee, and a tenth of a second to read.
MAX_UPSTREAMS = 256
MAX_ROUTES = 2_000
MAX_TARGETS = 32
#: Characters of an upstream's or a route's name.
MAX_ROUTE_NAME = 256
#: The greatest weight of a target; and the most retries that may be asked for.
MAX_WEIGHT = 10_000
MAX_UPSTREAM_RETRIES = 10
#: The longest deadline that may be set (a day).
MAX_DEADLINE = 86_400.0
#: Names under one `*` that are remembered, for all such routes together: clients make them up.
MAX_STAR_NAMES = 1_000
#: Waits between tries of the same target: at first up to this long, then twice as long each time, up to the second.
RETRY_BACKOFF = 0.1
RETRY_BACKOFF_MAX = 2.0
#: A `Retry-After` up to this long is waited for; with a longer one, the target rests and the call looks elsewhere.
RETRY_AFTER_WAIT = 2.0
#: A `Retry-After` beyond this is a mistake of the upstream's: the target rests no longer than this.
RETRY_AFTER_MAX = 600.0
#: Retries that each call pays for: a tenth, so that a broken upstream sees a tenth more load at the most.
RETRY_SHARE = 0.1
#: Retries that can be saved up; and those of a route that has few calls (in each second, all its calls together).
RETRY_SAVINGS = 10.0
RETRY_TRICKLE = 0.1
#: A target's breaker opens after so many failures in a row ...
BREAKER_FAILURES = 5
#: ... or when this share of the calls of the last seconds has failed, if there were enough of them to tell.
BREAKER_RATE = 0.5
BREAKER_WINDOW = 30.0
BREAKER_SAMPLES = 20
#: It stays open this long before one call may probe the target; twice as long after each probe that fails.
BREAKER_OPEN = 5.0
BREAKER_OPEN_MAX = 60.0
#: A probe that has come to nothing in this time (its client is gone, say) is forgotten, and another may be made.
BREAKER_PROBE = 130.0
#: How much of each new time to the first token goes into a target's average; and how fast the average is forgotten, so
#: that a target that was slow once is tried again.
LATENCY_SHARE = 0.3
LATENCY_HALF_LIFE = 60.0
#: Targets that are slower than the quickest by less than this share count as equally quick.
LATENCY_SLACK = 0.1
#: Characters of the beginning of a prompt that decide where it goes.
AFFINITY_CHARS = 2_048
#: A target with more calls than this multiple of its share (and a few) passes what belongs to it on to the next.
AFFINITY_LOAD = 1.25
AFFINITY_SPARE = 4

# --- the store --------------------------------------------------------------------------------------------------------
#: Write operations that wait for the group commit. More are refused with 503.
MAX_PENDING_WRITES = 20_000
#: Write operations of one group commit.
MAX_GROUP_COMMIT = 512
#: How long SQLite waits for another process's write lock.
STORE_BUSY_TIMEOUT = 10.0
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
STORE_CONNECT_TIMEOUT = 10.0
#: One statement on a database server.
STORE_STATEMENT_TIMEOUT = 30.0
#: An id, in bytes: far more than any of ours, and short enough for PostgreSQL to index (2,704 bytes for a whole entry).
MAX_ID = 512
#: Metadata of one object, in characters (published specification, Metadata): keys, values.
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512

# --- downloading models -----------------------------------------------------------------------------------------------
#: A download from which not one byte comes for this long is given up (its next source is tried).
PULL_STALL_TIMEOUT = 120.0
#: Connecting to a source, and waiting for its next bytes: short, because without a network it must fail quickly.
PULL_CONNECT_TIMEOUT = 15
#: Free disk space that a download leaves for everything else.
PULL_SPARE_DISK = 64 * MIB

# --- background responses ---------------------------------------------------------------------------------------------
#: A worker's claim on what it is making. A dead worker's responses are taken over within this time and a tick.
LEASE = 8.0
#: Between two renewals: three may fail before the lease is lost.
LEASE_RENEWAL = 2.0
#: Between two looks for work that came without a nudge (from other workers, or after a crash).
CLAIM_TICK = 1.0
#: Between two looks for cancels that were asked of another worker.
CANCEL_TICK = 0.25
#: Background responses that one worker makes at once. More wait in the database.
MAX_BACKGROUND = 64
#: Events of one response's log; the oldest are forgotten first.
MAX_LOG_EVENTS = 8_192
#: Bytes of one response's log.
MAX_LOG_BYTES = 64 * MIB
#: How long a log is kept after its response was created.
LOG_TTL = 24 * 3600
#: Between two looks for new events of a response that another worker makes.
TAIL_TICK = 0.2
#: Batches of a log that are read at once.
TAIL_PAGE = 256
#: Between two sweeps for what has expired.
SWEEP_TICK = 60.0
#: Responses deleted in one step of a sweep.
SWEEP_STEP = 500
#: How long a stored response is kept, unless its project says otherwise (OpenAI keeps them 30 days).
RESPONSE_TTL = 30 * 24 * 3600

# --- WebSockets -------------------------------------------------------------------------------------------------------
#: Open at once on one server.
MAX_SOCKETS = 1_000
#: Responses that one connection makes at once; more wait (published documentation of the WebSocket mode).
SOCKET_ACTIVE = 16
#: Different named lanes of one connection (published documentation).
SOCKET_LANES = 32
#: Characters of a lane's name (published documentation).
MAX_STREAM_ID = 256
#: Requests of one connection that wait for their turn, and their bytes. More are refused with 429.
SOCKET_QUEUE = 256
SOCKET_QUEUE_BYTES = 50 * MIB
#: Steering inputs that wait for one response.
MAX_STEERS = 16
#: Responses that a connection remembers to go on from, and the bytes of their items.
SOCKET_CHAINS = 64
SOCKET_CHAIN_BYTES = 64 * MIB
#: Ended responses that a connection can still say something about.
SOCKET_KNOWN = 256
#: A connection ends after this long (published documentation: 60 minutes).
SOCKET_LIFETIME = 3600.0
#: Between two pings, and how long the other side may take to answer one: longer than a slow line takes for what is
#: under way to it.
SOCKET_PING = 20.0
SOCKET_PONG = 60.0
#: Pieces of one message. Empty ones would cost memory for ever.
MAX_FRAGMENTS = 16_384
# --- prompts ----------------------------------------------------------------------------------------------------------
#: Characters of a prompt's name.
MAX_PROMPT_NAME = 256
#: One version of a prompt, as JSON. It is read for every response that uses it.
MAX_PROMPT = MIB
#: Variables and messages of one version.
MAX_PROMPT_VARIABLES = 256
MAX_PROMPT_MESSAGES = 256
#: A prompt after its variables were put in, as JSON: a long value may stand in many places.
MAX_RESOLVED_PROMPT = MAX_BODY

# --- calls ------------------------------------------------------------------------------------------------------------
#: What is to be noted of calls that are over waits this long for others.
CALLS_TICK = 0.02

# --- money ------------------------------------------------------------------------------------------------------------
#: A ledger entry is written within this time of its call's end; a crash loses no more.
LEDGER_FLUSH = 0.05
#: Entries of one write.
LEDGER_BATCH = 500
#: Entries that wait while the database does not take them. More are lost, and logged.
LEDGER_QUEUE = 100_000
#: Between two tries of a write that failed.
LEDGER_RETRY = 1.0
#: How long entries are kept: a year, and the month to compare it with.
LEDGER_DAYS = 400
#: Between two sweeps for older ones.
LEDGER_SWEEP_TICK = 3600.0
#: Budgets, alerts included. All of them are kept in memory.
MAX_BUDGETS = 10_000
#: A budget that another server or the command line has changed is known within this time.
BUDGET_CACHE_TTL = 2.0
#: A server's claim on the money that its calls may come to cost. After a crash, it counts as spent then.
RESERVATION_LEASE = 60.0
#: Between two renewals of that claim.
RESERVATION_RENEWAL = 15.0
#: Lapsed reservations that are settled in one step.
RESERVATION_STEP = 500
#: Output tokens that are reserved for, where a request sets no limit of its own.
BUDGET_OUTPUT_TOKENS = 4_096
#: Input tokens that an image, a file or a recording is taken for before its real count is known.
BUDGET_PART_TOKENS = 1_500
#: Addresses of one spend alert, and characters of each and of its subject's prefix.
MAX_ALERT_RECIPIENTS = 100
MAX_ALERT_TEXT = 320
# --- cached answers ---------------------------------------------------------------------------------------------------
#: How long an answer may be given again where the request asks for it and nobody says how long.
CACHE_TTL = 3600
#: Longest time that can be asked for: as long as responses are kept.
MAX_CACHE_TTL = 30 * 24 * 3600
#: One kept answer. Longer ones are rarely asked for twice, and cost as much to read as to make.
MAX_CACHED_ANSWER = MIB
#: All kept answers of one project, and of all projects together. The oldest go first.
CACHE_PROJECT_BYTES = 64 * MIB
CACHE_TOTAL_BYTES = 512 * MIB
#: What is freed at once when one of these is reached (a part of it), so that not every write has to look for room.
CACHE_FREED = 0.1
#: Calls that share one generation; more ask on their own.
CACHE_LISTENERS = 1_000
#: Deltas that a shared generation may be ahead of the fastest of those who listen to it.
CACHE_AHEAD = 256
#: Deltas of a kept or shared answer that are sent at once, before others get their turn.
CACHE_BATCH = 32
#: Generations under way that others may join; more run without being shared.
CACHE_FLIGHTS = 4_096

# --- what is shut down ------------------------------------------------------------------------------------------------
#: Between two times that uses of what is shut down are written; a crash loses no more than this.
USES_TICK = 5.0
#: Pairs of a key and what it uses that wait to be written; more are not counted until then.
MAX_PENDING_USES = 10_000
#: What was not used for this long is not used any more (seconds).
USES_RECENT = 30 * 24 * 3600
#: Uses that `antiphon doctor` shows.
USES_SHOWN = 100
#: A list of shutdowns that is older than this (days) is worth a remark.
RETIREMENTS_FRESH = 120

# --- idempotency keys -------------------------------------------------------------------------------------------------
#: Characters of an `Idempotency-Key`.
MAX_IDEMPOTENCY_KEY = 255
#: How long a key is remembered.
IDEMPOTENCY_TTL = 24 * 3600
#: One answer that is kept for its key. Streams are several times as large as what they say.
MAX_KEPT_ANSWER = 8 * MIB
#: Answers that may not be stored are kept in memory: all of them together.
MAX_ANSWERS_IN_MEMORY = 64 * MIB
#: A server's claim on a key whose request it is answering. After a crash, the key can be used again then.
KEY_LOCK = 15.0
#: Between two renewals of that claim.
KEY_LOCK_RENEWAL = 4.0
#: Between two looks whether another server has finished with a key.
KEY_TICK = 0.25

# --- the organisation -------------------------------------------------------------------------------------------------
#: Characters of the name of a project, user, service account or key: four bytes each at most, and so never over MAX_ID.
MAX_NAME = 128
#: Characters of an email address (RFC 5321, 4.5.3.1.3: a path of 256 with its angle brackets).
MAX_EMAIL = 254
#: Projects named in one invite.
MAX_INVITE_PROJECTS = 100
#: An invite can be accepted for this long.
INVITE_TTL = 7 * 24 * 3600
#: The longest life that a key can be made with (published specification: one year).
MAX_KEY_LIFE = 31_536_000
#: An admin key's last use is written down at most this often.
ADMIN_USE_TICK = 60.0
