"""Responses that are made while nobody waits, and connections that stay open."""

from __future__ import annotations

from antiphon.domain.limits.sizes import MIB

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
