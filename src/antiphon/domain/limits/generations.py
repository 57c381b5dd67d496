"""The local engine, and what is asked of any."""

from __future__ import annotations

from antiphon.domain.limits.sizes import KIB, MIB

# --- the local engine -------------------------------------------------------------------------------------------------
#: Loading a model file and warming it up.
ENGINE_START_TIMEOUT = 180.0
#: Between two signs that the model works: a token, or a step of a prompt. A step takes seconds on slow machines.
ENGINE_TOKEN_TIMEOUT = 300.0
#: The child's process must answer; it does so beside its work, in milliseconds. When it has not for the first of these
#: times, requests are refused with 503; after the second it is started again.
ENGINE_SILENCE = 5.0
ENGINE_HANG_TIMEOUT = 30.0
#: Requests waiting for a slot, for each slot. More are refused with 503.
ENGINE_QUEUE_PER_SLOT = 16
#: Tokens of one request's prompt and answer; the first is taken for which there is memory. Agents' prompts begin at
#: 10,000 tokens, and 4,096 are what a conversation needs at least.
ENGINE_CONTEXTS = (32_768, 16_384, 8_192, 4_096)
#: Tokens that each slot has for itself on average, before slots have to share.
ENGINE_SLOT_TOKENS = 4_096
#: Tokens that an answer has for certain when it begins, and that it takes at a time as it grows.
ENGINE_ANSWER_STEP = 512
#: How often in a row an answer that the child breaks off is asked for again without one more token of it. Each time it
#: waits at the front of the queue for room.
ENGINE_FUTILE_TRIES = 3
#: Of a long prompt, what is read at once while others make answers: what takes this long, and at least so many tokens
#: (four times as long while others only read). A shorter piece costs more for beginning it, a longer one is felt.
ENGINE_PIECE_SECONDS = 0.25
ENGINE_PIECE_TOKENS = 8
#: After a piece, answers have the processor for this share of the time that the piece took: they keep 0.6 / 1.6 of
#: their speed, and the prompt is read at about as much less.
ENGINE_PIECE_REST = 0.6
#: Memory that is left for everything else when the context is chosen.
ENGINE_SPARE_MEMORY = 256 * MIB
#: JSON of what a client says to the model's chat template: switches, and perhaps a few texts.
MAX_TEMPLATE_ARGUMENTS = 16 * KIB
#: Restarts in a row before the engine is left down until the next request asks for it again.
ENGINE_MAX_RESTARTS = 5
#: Compiling one schema or grammar of a client, in processor time. The largest real ones take a third of it.
GRAMMAR_TIMEOUT = 1.0
#: Checking one answer against its schema or grammar, in processor time.
SCHEMA_CHECK_TIMEOUT = 1.0
#: Beyond either, for a process that has to wait for its turn on a busy machine.
SCHEMA_PATIENCE = 10.0
#: Starting the process that does both.
SCHEMA_START_TIMEOUT = 20.0
#: Questions of one project that wait for that process. Most take a fifth of a millisecond, and come with answers that
#: have been paid for; a project that sends slow ones only waits for itself.
SCHEMA_QUEUE = 8_192
#: Schemas and grammars of which it is remembered whether they are quick to work on: 100 bytes each.
SCHEMAS_KNOWN = 8_192
#: Characters of one schema or grammar.
MAX_SCHEMA_CHARS = 256 * KIB
#: Times a model is asked again when its answer does not fit a schema that its engine cannot enforce.
MAX_SCHEMA_RETRIES = 1
#: The first pieces of an answer are shown only once they are known to keep to its grammar; later ones are checked
#: beside, so that checking costs no time.
WATCHED_FIRST = 8

# --- several answers to one request -----------------------------------------------------------------------------------
#: Choices of one completion that are begun at once; of more, each waits for one to begin.
CHOICES_AT_ONCE = 32

# --- compaction -------------------------------------------------------------------------------------------------------
#: Tokens of one summary, in a context that is large enough.
MAX_SUMMARY_TOKENS = 2_048
#: Pieces of a long conversation, each summarised with the summary of those before it. Each takes the model seconds.
MAX_SUMMARY_PIECES = 64
#: Characters of a compaction item's encrypted content (published specification, CompactionSummaryItemParam).
MAX_SEALED = 20 * MIB

# --- downloading models -----------------------------------------------------------------------------------------------
#: A download from which not one byte comes for this long is given up (its next source is tried).
PULL_STALL_TIMEOUT = 120.0
#: Connecting to a source, and waiting for its next bytes: short, because without a network it must fail quickly.
PULL_CONNECT_TIMEOUT = 15
#: Free disk space that a download leaves for everything else.
PULL_SPARE_DISK = 64 * MIB
