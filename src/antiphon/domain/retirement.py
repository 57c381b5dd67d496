"""What its maker shuts down, when, and what to use then. Dates are those of the maker's own servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

Kind = Literal["model", "endpoint"]
_DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class Retirement:
    """One thing that is shut down. `name`: a model's, or an endpoint's path.

    `announced`: when it was said; None if that is not known. `replacement`: what its maker says to use then, in words
    or as a name. `successor`: the path of an endpoint that does the same; None for models. `source`: where it is said.
    """

    kind: Kind
    name: str
    shutdown: date
    replacement: str
    source: str
    announced: date | None = None
    successor: str | None = None

    @property
    def subject(self) -> str:
        """What it is called where uses of it are counted."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Retirements:
    """All that is known, as of a day. `page`: where OpenAI keeps its own list."""

    as_of: date
    page: str
    models: Mapping[str, Retirement] = field(default_factory=dict)
    endpoints: Mapping[str, Retirement] = field(default_factory=dict)

    def model(self, name: str) -> Retirement | None:
        """When this model is shut down, if that is known. A fine-tuned one goes with the model it was made from."""
        if name.startswith("ft:"):
            # OpenAI's names: ft:MODEL:ORGANISATION:SUFFIX:ID
            name = name.split(":", 2)[1]
        return self.models.get(name)

    def endpoint(self, path: str) -> Retirement | None:
        """When the endpoint is shut down that this path belongs to. A path's own part counts whole: `/v1/evals/x`."""
        while path.count("/") > 1:
            if (found := self.endpoints.get(path)) is not None:
                return found
            path = path.rpartition("/")[0]
        return None

    def advice(self, retirement: Retirement) -> str:
        """What to use then. A replacement that goes too is followed to the one that stays."""
        words = [retirement.replacement]
        following, seen = self.models.get(retirement.replacement), {retirement.name}
        while following is not None and following.name not in seen:
            words.append(f"which goes on {following.shutdown} too: then {following.replacement}")
            seen.add(following.name)
            following = self.models.get(following.replacement)
        return ", ".join(words)

    def by_subject(self, subject: str) -> Retirement | None:
        """The one that is counted under this name."""
        kind, _, name = subject.partition(":")
        return (self.models if kind == "model" else self.endpoints).get(name)


@dataclass(frozen=True, slots=True)
class Use:
    """That a key used what is shut down, `count` times up to the day that began at `last_day` (Unix seconds, UTC)."""

    project_id: str
    key_id: str
    subject: str
    last_day: int
    count: int


def day_of(moment: float) -> int:
    """The start of a moment's day in UTC (both Unix seconds)."""
    return int(moment) // _DAY * _DAY


def seconds(day: date) -> int:
    """The start of a day in UTC (Unix seconds)."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
