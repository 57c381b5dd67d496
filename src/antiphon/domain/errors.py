"""The one error tree. Every refusal of Antiphon is one of these, and each knows its HTTP face.

`http` turns an error into OpenAI's `{"error": {message, type, param, code}}`; a stream turns the same error into its
terminal event. Messages are read by people and must never hold a secret, an address or a traceback.

What an error says does not change once it is raised: one error may be seen by several tasks (calls that share a
generation, jobs of one failed transaction). Who must say it in other words makes another one (`restated`), and who
raises one that others hold as well raises a copy (`fresh`).
"""

from __future__ import annotations

from typing import Self, TypeVar

from antiphon.domain import limits

E = TypeVar("E", bound=BaseException)


class AntiphonError(Exception):
    """Base of the tree. `status` is the HTTP status; `type` and `code` are OpenAI's words for it."""

    status = 500
    type = "server_error"
    code: str | None = None
    #: Seconds for `Retry-After`, where trying again later can help.
    retry_after: int | None = None
    #: Whether an engine had begun to work when this came about, so that it may have to be paid.
    paid = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        paid: bool | None = None,
    ) -> None:
        """`param`: the wrong member of the request, as a path. `code`, `retry_after`, `paid`: None for the class's."""
        # Many messages quote the request, and what they quote may be as long as a request can be.
        if len(message) > limits.MAX_ERROR_MESSAGE:
            message = message[: limits.MAX_ERROR_MESSAGE] + "…"
        super().__init__(message)
        self._message = message
        self._param = param if param is None else param[: limits.MAX_ERROR_PARAM]
        if code is not None:
            self.code = code
        if retry_after is not None:
            self.retry_after = retry_after
        if paid is not None:
            self.paid = paid

    @property
    def message(self) -> str:
        """What went wrong, for the client."""
        return self._message

    @property
    def param(self) -> str | None:
        """The member of the request that is wrong, as a path; None for the whole."""
        return self._param

    def restated(self, *, param: str | None, message: str | None = None) -> Self:
        """The same error about another parameter, and with another message if one is given."""
        other = AntiphonError(message or self.message, param=param)
        twin = fresh(self)
        twin.args = (other.message,) if message else self.args
        vars(twin).update(_message=other.message, _param=other.param)
        return twin

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error object of the published specification (schema `ErrorResponse`; all four members always there)."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def fresh(error: E) -> E:
    """An equal error without a traceback. Raised in several tasks, one object would gather all their tracebacks."""
    twin = type(error).__new__(type(error), *error.args)
    vars(twin).update(vars(error))
    return twin


def note_used(error: BaseException, used: object) -> None:
    """Note with what ends a generation the tokens that it has used (a `protocol.generation.Usage`)."""
    vars(error)["used"] = used


def used_by(error: BaseException) -> object:
    """What `note_used` has noted; None if that is nothing."""
    return vars(error).get("used")


class InvalidRequest(AntiphonError):
    """The request cannot be served as it stands (400)."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit into the model's context (400)."""

    code = "context_length_exceeded"


class Unauthenticated(AntiphonError):
    """No key, or not a valid one (401)."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(AntiphonError):
    """A valid key that may not do this (403)."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class NotFound(AntiphonError):
    """No such object in this project: another project's id answers exactly the same (404)."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """No route has this model's name (404)."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist or you do not have access to it.", param="model")


class MethodNotAllowed(AntiphonError):
    """The path exists, the method on it does not (405)."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(AntiphonError):
    """The client took too long to send its request (408)."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class Conflict(AntiphonError):
    """The object's state does not allow this now (409)."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class LeaseLost(Conflict):
    """Another worker has taken over, or the object is gone: the work must stop (409)."""

    code = "lease_lost"


class ConversationLocked(Conflict):
    """A response is being made in this conversation, and nothing else may happen in it until its end (409)."""

    code = "conversation_locked"
    retry_after = 1

    def __init__(self) -> None:
        # The published API's words.
        super().__init__("Another process is currently operating on this conversation. Please retry in a few seconds.")


class PayloadTooLarge(AntiphonError):
    """The body is over the limit (413)."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(AntiphonError):
    """The body is of a kind this endpoint does not take (415)."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RateLimited(AntiphonError):
    """More requests or tokens than a limit allows (429). `kind`: "requests" or "tokens", OpenAI's type for it."""

    status = 429
    code = "rate_limit_exceeded"
    retry_after: int | None = 1

    def __init__(self, message: str, *, kind: str = "requests", retry_after: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.type = kind


class NeverFits(RateLimited):
    """A request that is larger than what its limit allows at all: waiting does not help (429)."""

    retry_after = None


class SpendLimitReached(AntiphonError):
    """A budget is used up (429). The code says whose: "project_spend_limit_exceeded", "organization_…", "key_…"."""

    status = 429
    type = "insufficient_quota"
    code = "project_spend_limit_exceeded"


class UpstreamFailed(AntiphonError):
    """An upstream server cannot be reached, refuses us, or answers with nonsense (502).

    Codes: "upstream_unreachable", "upstream_refused" (our secret, our quota there), "upstream_error",
    "upstream_invalid" (what came was not what it must be). Messages never quote the upstream.
    """

    status = 502
    code = "upstream_error"


class UpstreamBroken(UpstreamFailed):
    """The connection to an upstream ended in the middle of its answer (502)."""


class DeadlineExceeded(AntiphonError):
    """An upstream took longer than its deadline (504)."""

    status = 504
    code = "upstream_timeout"
    paid = True


class Overloaded(AntiphonError):
    """Every slot is busy and the queue is full (503): the SDKs retry it by themselves."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"
    retry_after = 1


class ShuttingDown(Overloaded):
    """The server is stopping (503)."""

    code = "server_is_shutting_down"


class EngineUnavailable(AntiphonError):
    """The engine cannot be reached or could not be started (503)."""

    status = 503
    type = "service_unavailable_error"
    code = "engine_unavailable"
    retry_after = 2


class EngineFailed(AntiphonError):
    """The engine broke in the middle of a generation (500)."""

    code = "engine_failed"


class OutputInvalid(EngineFailed):
    """The model's answer does not fit the schema it was asked for, also after asking again (500)."""

    code = "output_invalid"
    paid = True


class StoreFailed(AntiphonError):
    """The database could not take or give what was asked (500)."""

    code = "store_failed"


class StoreUnavailable(StoreFailed):
    """The database cannot be reached, or cannot be written to, for now (503).

    `str()` says why, for the log and the command line; `message`, for clients, does not.
    """

    status = 503
    type = "service_unavailable_error"
    code = "store_unavailable"
    retry_after = 5

    def __init__(self, reason: str) -> None:
        super().__init__("The server cannot store anything for now. Please retry later.")
        self.reason = reason
        self.args = (reason,)

    def __str__(self) -> str:
        return self.reason


class Unstorable(StoreFailed):
    """The database will never take this value: a number, a text or an object that it cannot hold (400)."""

    status = 400
    type = "invalid_request_error"
    code = "unstorable_value"

    def __init__(self, reason: str) -> None:
        """`reason`: the database's name of the error, which quotes nothing."""
        super().__init__(f"The request holds a value that the database cannot store ({reason}).")


class SetupError(AntiphonError):
    """Something on this machine must be put right first; the message says what to run. For the CLI, not for HTTP."""

    code = "setup_error"
