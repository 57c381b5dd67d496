"""CORS: calls from pages of other origins. Off by default, so this module is only loaded where origins are set."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from antiphon.domain.errors import InvalidRequest
from antiphon.http.answers import answer_headers, new_request_id
from antiphon.wire import json as wire_json


class Cors(CORSMiddleware):
    """Starlette's rules, with refusals in the API's own form."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        error = InvalidRequest(f"{bytes(answer.body).decode()}.", code="cors_refused")
        refusal = Response(wire_json.encode(error.body()), error.status, media_type="application/json")
        for name, value in answer.headers.items():
            if name not in ("content-length", "content-type"):
                refusal.headers[name] = value
        for header, value_bytes in answer_headers(new_request_id(), 0):
            refusal.headers[header.decode()] = value_bytes.decode()
        return refusal
