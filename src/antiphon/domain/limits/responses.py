"""Responses that are made while nobody waits, and connections that stay open."""

from __future__ import annotations

from antiphon.domain.limits.sizes import MIB

# --- background responses ---------------------------------------------------------------------------------------------
#: Background responses that one server makes at once. More wait in the database.
MAX_BACKGROUND = 96
#: And those of one project: what one asks for never takes all the room.
MAX_BACKGROUND_OF_PROJECT = 64
#: A background response that was refused for the moment (a full queue, a rate limit, a server that rests) is tried
#: again after a pause that grows from the shortest by half of all that it has waited; never sooner than asked for, as
#: far as that is no longer than the longest.
BACKGROUND_PAUSE = 0.5
#: As far as it grows by itself: where places come free every moment, and where they do not.
BACKGROUND_PAUSE_BUSY = 10.0
BACKGROUND_PAUSE_LIMITED = 60.0
MAX_BACKGROUND_PAUSE = 3600.0
#: A pause is longer than that by up to this part, so that many do not come back at once.
BACKGROUND_JITTER = 0.25
#: All its pauses together, before it fails: for a limit of a day to come round once; and for a model that is gone.
MAX_BACKGROUND_WAIT = 24 * 3600.0
MAX_BACKGROUND_OUTAGE = 600.0
#: Bytes of one response's log: room for some 250,000 events. The oldest are forgotten first, a sixteenth at a time.
MAX_LOG_BYTES = 64 * MIB
#: How long a log is kept after its response was created.
LOG_TTL = 24 * 3600
#: Between two looks for new events of a response that another worker makes.
TAIL_TICK = 0.2
#: Batches of a log that are read at once.
TAIL_PAGE = 256
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
