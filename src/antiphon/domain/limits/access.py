"""Keys, rate limits, and who administers them."""

from __future__ import annotations

# --- keys -------------------------------------------------------------------------------------------------------------
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

# --- sessions of browsers ---------------------------------------------------------------------------------------------
#: A session ends after this long: a working day.
SESSION_TTL = 12 * 3600
#: Sessions that are open at once with one key; a new one ends the oldest.
MAX_SESSIONS_PER_KEY = 100

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
