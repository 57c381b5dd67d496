"""What an upstream does wrong, as errors of ours.

Nothing an upstream says is passed on as it is: it may quote the secret it was given, its address, or a traceback. Only
where it tells what is wrong with the client's own request does a client get to read it, without any of these.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from antiphon.domain import limits
from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    OutputInvalid,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    UpstreamBroken,
    UpstreamFailed,
)
from antiphon.engines.upstream.scrubber import Scrubber

Json = dict[str, Any]
#: "same": the same target may be asked again, after `retry_after`; "at once": the same, which has not taken the
#: request; "other": only another one; "never": the request is at fault, and would be refused everywhere.
Retry = Literal["same", "at once", "other", "never"]

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PARAM = re.compile(r"[a-zA-Z_][\w.\[\]]{0,127}", re.ASCII)
#: A server's own words for a prompt that is too long. Most have no code for it.
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long"
    r"|(?:exceeds?|larger than|longer than)[^.]{0,60}context (?:length|size|window)"
    r"|context (?:length|size|window)[^.]{0,40}exceed",
    re.IGNORECASE,
)
#: Members in which an error object says what is wrong, and those that may hold an HTTP status.
_SAID = ("message", "detail", "msg", "error_message", "error_msg")
_STATUS = ("code", "status", "status_code")
#: Codes that say that our secret, or what it may use, is not enough: nothing a client can do about.
_OURS = frozenset(
    {
        *("invalid_api_key", "invalid_organization", "insufficient_quota", "billing_not_active"),
        *("billing_hard_limit_reached", "account_deactivated", "credit_balance_too_low"),
    }
)


class NotTaken(UpstreamFailed):
    """The connection was just being closed when the request was sent on it (502)."""


def retry(error: AntiphonError) -> Retry:
    """Whether what an engine raised can be asked for again, and of which target. For errors of engines only."""
    if isinstance(error, NotTaken):
        return "at once"
    if isinstance(error, UpstreamFailed):
        return "other" if error.code == "upstream_refused" else "same"
    if isinstance(error, RateLimited | Overloaded | EngineUnavailable):
        return "same"
    if isinstance(error, EngineFailed):
        return "never" if isinstance(error, OutputInvalid) else "other"
    return "other" if isinstance(error, DeadlineExceeded | NotFound) else "never"


# --- what never reached us as an answer -------------------------------------------------------------------------------
def unreachable() -> UpstreamFailed:
    """No connection can be made to its address."""
    return UpstreamFailed("The model's server cannot be reached.", code="upstream_unreachable")


def broken() -> UpstreamFailed:
    """The connection ended in the middle."""
    return UpstreamBroken("The model's server broke off.", paid=True)


def failed() -> UpstreamFailed:
    """It says that its answer came to nothing."""
    return _worked("The model's server failed.", "upstream_error")


def not_taken() -> UpstreamFailed:
    """The connection ended when the request was sent, before anything could come of it."""
    return NotTaken("The model's server broke off.", code="upstream_error")


def truncated() -> UpstreamFailed:
    """The stream ended, but not the answer."""
    return _worked("The model's server ended its stream in the middle of the answer.", "upstream_truncated")


def invalid(what: str) -> UpstreamFailed:
    """What came is not what it must be. `what` must quote nothing of it."""
    return _worked(f"The model's server answered with {what}.", "upstream_invalid")


def late(wait: str, *, paid: bool = True) -> DeadlineExceeded:
    """It took too long. `wait`: which wait it was. `paid`: it had the request, and may have worked on it."""
    return DeadlineExceeded(f"The model's server took too long: {wait}.", paid=paid)


def _worked(message: str, code: str) -> UpstreamFailed:
    """A failure of a server that had the request: it may have worked on it, and want to be paid."""
    return UpstreamFailed(message, code=code, paid=True)


# --- what it refuses --------------------------------------------------------------------------------------------------
class ReportedError(msgspec.Struct, frozen=True):
    """What an upstream's error object says, cleaned. `code` may also be its `type`; `status`: where it names one."""

    message: str = ""
    code: str | None = None
    param: str | None = None
    kind: str | None = None
    status: int | None = None
    too_long: bool = False
    #: Whether there was an error object of a form that is known.
    known: bool = False


def reported(value: object, scrubber: Scrubber) -> ReportedError:
    """Reads an error object: OpenAI's `{"error": {…}}`, or one of the forms that compatible servers have."""
    inner = (value.get("error") or value) if isinstance(value, dict) else None
    if isinstance(inner, str):
        inner = {"message": inner}
    if not isinstance(inner, dict):
        return ReportedError()
    detail = [inner[name] for name in _SAID if isinstance(inner.get(name), str)]
    message = detail[0] if detail else ""
    code, kind = inner.get("code"), inner.get("type")
    statuses = [status for name in _STATUS if (status := _status(inner.get(name))) is not None]
    return ReportedError(
        message=scrubber.clean(message),
        code=scrubber.identifier(code, _CODE),
        param=scrubber.identifier(inner.get("param"), _PARAM),
        kind=scrubber.identifier(kind, _CODE),
        status=statuses[0] if statuses else None,
        too_long=any(isinstance(text, str) and _TOO_LONG.search(text[:8192]) for text in (message, code, kind)),
        known=bool(detail),
    )


def _status(code: object) -> int | None:
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None


def refused(status: int, headers: Mapping[str, str], body: bytes, scrubber: Scrubber) -> AntiphonError:
    """The error for an answer whose HTTP status is not 2xx. `body` may be cut off."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    return _error(status, reported(value, scrubber), wait=retry_after(headers))


def in_stream(value: object, scrubber: Scrubber) -> AntiphonError:
    """The error for an error object that came in place of the answer, after HTTP status 200."""
    what = reported(value, scrubber)
    if what.status is None and (what.code in _OURS or what.kind in _OURS):
        return _error(403, what, wait=None)
    if what.status is None:
        words = {what.code, what.kind}
        status = 500
        if "invalid_request_error" in words or what.too_long:
            status = 400
        elif words & {"rate_limit_exceeded", "rate_limit_error", "tokens", "requests"}:
            status = 429
        elif words & {"server_is_overloaded", "overloaded_error"}:
            status = 503
        return _error(status, what, wait=None)
    return _error(what.status, what, wait=None)


def in_band(value: object, scrubber: Scrubber, name: str = "message") -> AntiphonError | None:
    """The error that an event of type `name`, or a body, is after HTTP status 200; None if it is none.

    Servers have many forms for it. What has choices, or belongs to a response, is none unless it says so.
    """
    if not isinstance(value, dict):
        return in_stream({"error": value}, scrubber) if name == "error" else None
    if value.get("error") or name == "error" or "error" in (value.get("object"), value.get("type")):
        return in_stream(value, scrubber)
    kind = value.get("type")
    if value.get("choices") or value.get("output") or (isinstance(kind, str) and not kind.lower().endswith("error")):
        return None
    failed = value.get("success") is False or any(_status(value.get(member)) is not None for member in _STATUS)
    if failed or any(value.get(member) for member in (*_SAID, "errors")):
        return in_stream(value, scrubber)
    return None


def _error(status: int, what: ReportedError, *, wait: int | None) -> AntiphonError:
    if status in {401, 402, 403, 407} or what.code in _OURS or what.kind in _OURS:
        return UpstreamFailed("The model's server refuses this server's access to it.", code="upstream_refused")
    if status == 429:
        kind = what.kind if what.kind in {"tokens", "requests"} else "requests"
        message = "The model's server takes no more requests for now. Please retry later."
        return RateLimited(message, kind=kind, retry_after=wait)
    if status in {503, 529}:
        return Overloaded("The model's server is overloaded. Please retry later.", retry_after=wait)
    if status in {408, 504, 524}:
        return late("it gave up by itself", paid=False)
    if status >= 500:
        return UpstreamFailed("The model's server failed.", code="upstream_error", retry_after=wait)
    if status == 404 and (what.code == "model_not_found" or what.param == "model" or "model" in what.message.lower()):
        return NotFound("The model's server does not have this model.", code="model_not_found", param="model")
    if status in {404, 405} or status < 400:
        return invalid(f"HTTP status {status} where the API should be")
    return _disliked(status, what)


def _disliked(status: int, what: ReportedError) -> AntiphonError:
    """The error of a request that is wrong, with what the upstream says of it."""
    detail = f" It says: {what.message}" if what.known and what.message else ""
    if what.too_long:
        return ContextLengthExceeded(f"The prompt does not fit into the model's context.{detail}")
    if status == 413:
        return PayloadTooLarge(f"The model's server does not take requests as large as this one.{detail}")
    message = f"The model's server does not take this request.{detail}"
    return InvalidRequest(message, code=what.code or "upstream_rejected", param=what.param)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds that an upstream asks to wait (RFC 9110, 10.2.3: seconds or a date), at least 1; None if it does not."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = int(value)
    else:
        try:
            seconds = int(parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return None
    return max(1, min(seconds, limits.UPSTREAM_RETRY_AFTER))
