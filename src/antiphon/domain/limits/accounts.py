"""What is noted of calls: what they cost, what may be answered again, what is shut down, what is to be seen."""

from __future__ import annotations

from antiphon.domain.limits.sizes import MIB

# --- calls ------------------------------------------------------------------------------------------------------------
#: What is to be noted of calls that are over waits this long for others.
CALLS_TICK = 0.02
#: Characters of a word that is noted with a call: an id, an error's code, a service tier. Longer ones are nobody's.
MAX_LABEL = 256
#: Characters of the list of targets that a call has tried.
MAX_TARGETS_TEXT = 8_192
#: Text of an answer that is kept until its end, in characters: what one that is broken off is counted by. The rest of
#: it is taken for alike, so that an answer costs no memory, however long it is.
TEXT_SAMPLE = 8_192
#: Pieces of it that are counted together.
TEXT_PIECES = 64
#: The most that is counted of one call: a thousand times the tokens of the largest context there is. Sums of it do not
#: leave 64 bits before billions of calls.
MAX_TOKENS = 1_000_000_000
#: The most that one call can cost, in nano-dollars: a billion dollars, as much as the largest budget.
MAX_COST = 1_000_000_000 * 1_000_000_000

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
#: Output tokens that are reserved for, where a request sets no limit of its own; under a hard budget it gets this one.
BUDGET_OUTPUT_TOKENS = 4_096
#: The Responses API takes no smaller limit: less is sent as this.
LEAST_OUTPUT = 16
#: Input tokens that an image is taken for before its real count is known, and a file or a recording at least.
BUDGET_PART_TOKENS = 1_500
#: Characters of base64 for each token of a recording (OpenAI: ten tokens a second; an MP3 of 128 kbit/s has 2,130
#: characters of base64 in a tenth of one, half of it for speech), of a PDF (compressed text and pictures) and of any
#: other file, which may be plain text (four characters a token, a third more in base64).
AUDIO_CHARS = 1_000
PDF_CHARS = 20
FILE_CHARS = 5
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
CACHE_SUBSCRIBERS = 1_000
#: Deltas that a shared generation may be ahead of the fastest of those who listen to it.
CACHE_AHEAD = 256
#: Deltas of a kept or shared answer that are sent at once, before others get their turn.
CACHE_BATCH = 32
#: Generations under way that others may join; more run without being shared.
CACHE_SHARED = 4_096

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

# --- what is to be seen of it -----------------------------------------------------------------------------------------
#: Series of one metric. All further label values share one more, so that no client can fill a server's memory or
#: whoever collects the metrics.
MAX_SERIES = 500
#: The same for histograms, each of which is twenty lines.
MAX_HISTOGRAMS = 200
#: Between two looks at how late the event loop is. Short enough to meet most hiccups, and far from costing anything.
LOOP_LAG_EVERY = 0.1
