"""Responses that are made while nobody waits, and connections that stay open."""

from __future__ import annotations

from antiphon.domain.limits.sizes import MIB

# --- background responses ---------------------------------------------------------------------------------------------
#: A server that has not been heard of for this long, by the clock of the one that listens, is taken for dead, and its
#: work for anybody's. With two beats in between, that is within 10 seconds of its last one.
LEASE = 6.0
#: Between two beats of a server that shares its database: two may fail before it is taken for dead.
LEASE_RENEWAL = 2.0
#: Between two looks for work that came without a nudge (from other workers, or after a crash).
CLAIM_TICK = 1.0
#: Responses that wait which one look sees, to choose from. Of each project, no more than there is room for.
CLAIM_LOOK = 1_000
#: Between two looks for cancels that were asked of another worker.
CANCEL_TICK = 0.25
#: Background responses that one worker makes at once. More wait in the database.
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
#: A response whose job breaks is tried this often before it fails.
MAX_JOB_TRIES = 3
#: Bytes of one response's log: room for some 250,000 events. The oldest are forgotten first, a sixteenth at a time.
MAX_LOG_BYTES = 64 * MIB
#: How long a log is kept after its response was created.
LOG_TTL = 24 * 3600
#: Between two looks for new events of a response that another worker makes.
TAIL_TICK = 0.2
#: Batches of a log that are read at once.
TAIL_PAGE = 256
#: Between two sweeps for what has expired.
SWEEP_TICK = 60.0
#: A clock that was set is believed by sweeps once it has stayed so for this long: what a wrong clock deletes is gone.
CLOCK_DOUBT = 3600.0
#: What a clock may gain or lose between two looks without having been set.
CLOCK_DRIFT = 60.0
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
