"""What `antiphon doctor` says of upstreams: whether their secrets are there. Nobody is asked for anything."""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.cli.findings import Finding, State
from antiphon.domain.errors import SetupError
from antiphon.settings import Settings


def upstreams(settings: Settings) -> Iterator[Finding]:
    """A line for each upstream whose secret is missing, or one for all."""
    from antiphon.engines.upstream.secrets import SecretSource

    missing = 0
    for spec in settings.upstreams.values():
        try:
            SecretSource(spec.name, spec.secret)
        except SetupError as error:
            missing += 1
            yield Finding(State.FAIL, "upstreams", error.message)
    if settings.upstreams and not missing:
        count = len(settings.upstreams)
        yield Finding(State.OK, "upstreams", f"{count}, with their secrets; 'antiphon routes test' asks them")
