"""What a client may send, and how long it may take over it."""

from __future__ import annotations

from antiphon.domain.limits.sizes import KIB, MIB

# --- what a client may send -------------------------------------------------------------------------------------------
#: One JSON body. OpenAI's own limit for a request with inlined files is 50 MB.
MAX_BODY = 50 * MIB
#: Bodies of all requests that are being read and answered, together. What is made of them takes more.
MAX_BODIES = 512 * MIB
#: Request line and headers together; OpenAI asks for less than 64 KiB.
MAX_HEADERS = 64 * KIB
#: Bytes of a chunk's coding that each byte of its body makes up for: "1", a byte, and two ends of lines, with room for
#: zeros before the size. What goes beyond that (extensions of chunks, trailers) may be as large as a head.
CHUNK_CODING = 9
#: Bytes that are parsed at a time: so many requests can be in them that nobody would wait long for the next look.
PARSE_STEP = 4 * KIB
#: Nesting of a JSON body. Deeper than any real schema, and far from the interpreter's recursion limit.
MAX_JSON_DEPTH = 128
#: Values in one JSON body: agents' longest histories have some ten thousand. Each takes the interpreter up to 0.5 us to
#: make, in one go, and sixty bytes of memory.
MAX_JSON_VALUES = 100_000
#: Bodies larger than this are decoded and checked beside the event loop.
LARGE_BODY = 128 * KIB
#: Characters of a function's name as every Chat Completions server takes it (published specification, FunctionObject).
MAX_FUNCTION_NAME = 64
#: `top_k` of a request: as many tokens as the largest vocabularies have, and a number that fits 32 bits.
MAX_TOP_K = 1_000_000
#: Input items of one response, and messages of one chat. More is a loop gone wrong; so many take 50 ms to understand.
MAX_INPUT_ITEMS = 5_000
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
#: Characters of the path of the parameter that an error names: names in it are the client's own.
MAX_ERROR_PARAM = 500

#: Items of earlier responses that are remembered in memory, as bytes of JSON.
HISTORY_CACHE = 32 * MIB

# --- how long anything may take ---------------------------------------------------------------------------------------
#: From the first byte of a request's head to its end: a slow sender must not hold a connection for ever.
HEAD_TIMEOUT = 15.0
#: Between two pieces of a body.
BODY_TIMEOUT = 30.0
#: A whole body: 50 MiB take this long on a line of 700 kbit/s. Without it, a byte now and then would do for ever.
BODY_TOTAL_TIMEOUT = 600.0
#: Bytes a second that a large upload must come with, after that: half of the rate above, for lines that are shared.
MIN_BODY_RATE = 40 * KIB
#: An idle connection is kept this long for the next request.
KEEP_ALIVE_TIMEOUT = 75.0
#: After a stop signal: this long to finish what is running; then it is ended with a stored error.
DRAIN_TIMEOUT = 20.0
#: After that, this long for the last writes and closes.
CLOSE_TIMEOUT = 5.0
#: A client that reads nothing of its answer for this long counts as gone.
SEND_TIMEOUT = 120.0
#: Between two comments on a quiet stream: proxies close silent connections (nginx after 60 s).
STREAM_HEARTBEAT = 15.0

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

# --- connections ------------------------------------------------------------------------------------------------------
#: Open at once. An idle one costs 10 KiB.
MAX_CONNECTIONS = 16_384
#: Files that the process asks to be allowed to have open: connections, of clients and to upstreams, are files.
MAX_OPEN_FILES = 65_536
#: Of these, what new connections leave free for the database, upstreams and children: a quarter of few.
SPARE_FILES = 256
SPARE_FILES_LEAST = 16
#: Refused connections that stay open until their clients have read the answer, and how long (seconds) they may.
MAX_LINGERING = 8
TURN_AWAY_TIMEOUT = 1.0
#: Seconds between two lines of log about refused connections.
REFUSED_CONNECTIONS_LOG_EVERY = 10.0
