"""Servers behind this one, and the routes to them."""

from __future__ import annotations

from antiphon.domain.limits.sizes import KIB, MIB

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
#: One whole answer: five minutes of speech in base64, and a hundred times the longest text.
MAX_UPSTREAM_BODY = 16 * MIB
#: One event of a stream: the last one of a response repeats all of its output.
MAX_UPSTREAM_EVENT = 16 * MIB
#: What is held of all answers together that are read as a whole: four of the largest, or thousands of common ones.
UPSTREAM_BODIES = 64 * MIB
#: One stream. A context of 128,000 tokens takes 40 MB, at 300 bytes of JSON for each token.
MAX_UPSTREAM_STREAM = 128 * MIB
#: An answer ends when it has said so many times the tokens that were asked for, at four characters a token, and some
#: more: a server that keeps to the number never comes near, in any language. Where no number was asked for, it ends
#: when it has said so many times what fits into the model's context.
UPSTREAM_EXCESS = 4
UPSTREAM_EXCESS_TOKENS = 1_024
UPSTREAM_CONTEXT_EXCESS = 2
#: Tokens that an upstream may say it used. The longest contexts there are have ten millions; beyond it is a mistake.
MAX_TOKENS_TOLD = 16_777_216
#: Characters of a call's arguments that are compared with those of the next call, which may be the same said again.
MAX_TOOL_CALL_COMPARED = 4_096
#: Tool calls of one answer: more than a request may have tools.
MAX_UPSTREAM_CALLS = 512
#: Secrets shorter than this are not looked for in answers: they may be part of any text.
MIN_SECRET_SEARCHED = 16
#: Values in one event: log probabilities of a long answer have more than a request may have.
MAX_UPSTREAM_VALUES = 2_000_000
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
#: A connection that was idle for so long (seconds) is looked at before it is used again: its end may not be read yet.
UPSTREAM_IDLE_LOOK = 0.5
#: A connection that ends within this time after a request was written to it was being closed already: longer, and the
#: request may have been taken, and paid for.
UPSTREAM_STALE_WITHIN = 0.01
#: Times that a request which changes nothing is sent again for that reason. Others are the routes' business.
UPSTREAM_STALE = 4
#: After the last event of a stream, its connection is kept this long for its end: only then can it be used again.
UPSTREAM_LINGER = 2.0
#: Once an answer has said why it ended, only its usage is waited for: so long, and in so many events.
UPSTREAM_AFTER = 10.0
UPSTREAM_EVENTS_AFTER = 64
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

#: Characters of a `traceparent` that is passed on: version 00 has 55, and later versions may have more.
MAX_TRACEPARENT = 128
#: Characters of a `tracestate` that is passed on: as many as W3C Trace Context asks for (section 3.3.1.5).
MAX_TRACESTATE = 512
