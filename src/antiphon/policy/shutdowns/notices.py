"""Says of models and endpoints when their maker shuts them down: on the model object, and in headers of calls.

A model goes when the server that answers for it goes: the dates are OpenAI's, so they hold for targets on OpenAI's own
servers, and for nothing else. A name that a local model answers to lives on, whatever becomes of its namesake.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from email.utils import format_datetime
from urllib.parse import urlsplit

from antiphon.domain.retirement import Retirement, Retirements, seconds
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import RouteSpec, TargetSpec, UpstreamSpec
from antiphon.policy.call import GenerationContext, Headers
from antiphon.ports import Route

_PROFILE = "openai"
_HOST = "api.openai.com"
_SUNSET = b"sunset"
_NAMES = frozenset({b"deprecation", _SUNSET, b"link", b"x-antiphon-replacement"})


class Shutdowns:
    """What is known of shutdowns. Sets the headers of calls whose target has a date."""

    def __init__(self, known: Retirements, upstreams: Iterable[UpstreamSpec] = ()) -> None:
        self.known = known
        self._openai = frozenset(upstream.name for upstream in upstreams if is_openai(upstream))
        self._headers: dict[str, Headers] = {}

    def target(self, target: TargetName) -> Retirement | None:
        """When this target goes, if that is known."""
        return self.known.model(target.model) if target.upstream in self._openai else None

    def route(self, route: Route) -> date | None:
        """The day from which no target of a route's first choice is left; None if some will stay."""
        spec = route.spec
        if spec is None or not spec.targets:
            return None
        days = [self._of_spec(spec, target) for target in spec.targets]
        known = [day.shutdown for day in days if day is not None]
        return max(known) if len(known) == len(days) else None

    def targets(self, routes: Iterable[RouteSpec]) -> list[tuple[RouteSpec, TargetSpec, Retirement]]:
        """All targets of these routes that go, fallbacks included."""
        return [
            (spec, target, found)
            for spec in routes
            for target in (*spec.targets, *spec.fallbacks)
            if (found := self._of_spec(spec, target)) is not None
        ]

    def endpoint(self, path: str) -> Headers:
        """The headers for calls of an endpoint whose namesake at OpenAI goes."""
        found = self.known.endpoint(path)
        return [] if found is None else self.headers(found)

    def answer_started(self, context: GenerationContext) -> None:
        """Say it in the call's headers, if the target that answers goes. Of several dates, the first one is told."""
        target = context.trace.target
        found = None if target is None else self.target(target)
        if found is None:
            return
        headers, new = context.call.headers, self.headers(found)
        sunset = next((value for name, value in headers if name == _SUNSET), None)
        if sunset is None or _moment(sunset) > found.shutdown:
            headers[:] = [*(header for header in headers if header[0] not in _NAMES), *new]

    def headers(self, retirement: Retirement) -> Headers:
        """`Deprecation` (RFC 9745), `Sunset` (RFC 8594), links to more, and the replacement."""
        found = self._headers.get(retirement.subject)
        if found is None:
            found = self._headers[retirement.subject] = _headers(retirement, self.known.page)
        return found

    def _of_spec(self, spec: RouteSpec, target: TargetSpec) -> Retirement | None:
        return self.target(TargetName(target.upstream, target.model or spec.name))


def is_openai(upstream: UpstreamSpec) -> bool:
    """Whether this is a server of OpenAI's own, whatever the region."""
    host = urlsplit(upstream.url).hostname or ""
    return upstream.profile == _PROFILE or host == _HOST or host.endswith(f".{_HOST}")


def _headers(retirement: Retirement, page: str) -> Headers:
    # RFC 8594, section 3: an HTTP-date (RFC 9110, section 5.6.7).
    moment = datetime.fromtimestamp(seconds(retirement.shutdown), UTC)
    links = [f'<{page}>; rel="deprecation sunset"; type="text/html"']
    if retirement.successor is not None:
        links.append(f'<{retirement.successor}>; rel="successor-version"')
    headers = [
        (_SUNSET, format_datetime(moment, usegmt=True).encode()),
        (b"link", ", ".join(links).encode()),
        (b"x-antiphon-replacement", retirement.replacement.encode()),
    ]
    if retirement.announced is not None:
        # RFC 9745, section 2.1: a date of structured fields (RFC 9651, section 3.3.7).
        headers.insert(0, (b"deprecation", b"@%d" % seconds(retirement.announced)))
    return headers


def _moment(sunset: bytes) -> date:
    """The day of a `Sunset` header that was made here."""
    return datetime.strptime(sunset.decode(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).date()
