"""W3C Trace Context: two headers by which one request is followed through several services.

A client's `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context/) are passed on to the upstreams that its
request leads to, so that what happens there is found under the client's trace. They are the only headers of a request
that are passed on; what is not well formed is ignored, as the specification asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from antiphon.domain import limits

#: Headers that an upstream may get with a request, by their names in small letters.
PASSED_HEADERS = frozenset({"traceparent", "tracestate"})
#: What their values are made of: no control characters, so that one cannot end a header and begin another.
PRINTABLE = re.compile(r"[\x20-\x7e]+")

#: Version, trace, parent, flags; versions after 00 may have more behind that (section 3.2).
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?"
)
_NONE: Mapping[str, str] = {}


def trace_headers(traceparent: str | None, tracestate: str | None) -> Mapping[str, str]:
    """The headers to pass on, of those that a client has sent; empty if it is in no trace.

    Without a valid `traceparent`, `tracestate` means nothing (section 3.3). One that is too long is left out.
    """
    if traceparent is None or len(traceparent) > limits.MAX_TRACEPARENT:
        return _NONE
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[2] is not None):
        return _NONE
    headers = {"traceparent": traceparent}
    if tracestate and len(tracestate) <= limits.MAX_TRACESTATE and PRINTABLE.fullmatch(tracestate):
        headers["tracestate"] = tracestate
    return headers
