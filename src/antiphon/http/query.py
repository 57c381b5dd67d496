"""Query parameters, checked as strictly as bodies are."""

from __future__ import annotations

from collections.abc import Collection

from antiphon.domain import limits
from antiphon.domain.errors import InvalidRequest
from antiphon.http.exchange import Exchange
from antiphon.protocol.refusals import unknown_parameter


class Query:
    """The query of a request that knows these parameters, some of which are `maps`. Raises `InvalidRequest` for others.

    Arrays come as `name[]=a&name[]=b` (or `name=a`), maps as `name[key]=value`: that is how the SDKs send them.
    """

    def __init__(self, exchange: Exchange, known: Collection[str], *, maps: Collection[str] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        self._maps: dict[str, dict[str, str]] = {}
        for raw, value in exchange.query():
            name, bracket, key = raw.partition("[")
            if name in maps and len(key) > 1 and key.endswith("]"):
                self._maps.setdefault(name, {})[key[:-1]] = value
            elif name in known and (not bracket or key == "]"):
                self._values.setdefault(name, []).append(value)
            elif name in maps and not bracket:
                raise InvalidRequest(
                    f"Invalid type for '{name}': expected an object, but got a string instead.",
                    code="invalid_type",
                    param=name,
                )
            else:
                raise unknown_parameter(raw[:100])

    def text(self, name: str) -> str | None:
        """A parameter's value; the last one, if it was given twice."""
        values = self._values.get(name)
        return values[-1] if values else None

    def texts(self, name: str) -> list[str]:
        """All values of an array."""
        return self._values.get(name, [])

    def mapping(self, name: str) -> dict[str, str]:
        """A map's pairs."""
        return self._maps.get(name, {})

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """A parameter that must be one of a few words."""
        value = self.text(name)
        if value is None:
            return default
        check_choice(name, value, allowed)
        return value

    def flag(self, name: str) -> bool:
        """A parameter that is true or false."""
        return self.choice(name, ("true", "false"), "false") == "true"

    def limit(self, *, bounded: bool = True) -> int:
        """The size of a page: 1 to 100, 20 unless said. `bounded`: more is refused, and not only given in pages."""
        value = self.text("limit")
        if value is None:
            return limits.DEFAULT_PAGE
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise InvalidRequest(
                "Invalid type for 'limit': expected an integer, but got a string instead.",
                code="invalid_type",
                param="limit",
            )
        number = int(value)
        if number < 1:
            raise InvalidRequest(
                f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {number} instead.",
                code="integer_below_min_value",
                param="limit",
            )
        if number > limits.MAX_PAGE and not bounded:
            return limits.MAX_PAGE
        if number > limits.MAX_PAGE:
            raise InvalidRequest(
                f"Invalid 'limit': integer above maximum value. Expected a value <= {limits.MAX_PAGE}, "
                f"but got {number} instead.",
                code="integer_above_max_value",
                param="limit",
            )
        return number

    def ascending(self, default: str) -> bool:
        """Whether `order` is "asc"."""
        return self.choice("order", ("asc", "desc"), default) == "asc"


def check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise `InvalidRequest` unless `value` is one of `allowed`."""
    if value not in allowed:
        words = ", ".join(f"'{word}'" for word in allowed)
        raise InvalidRequest(
            f"Invalid value: '{value[:100]}'. Supported values are: {words}.", code="invalid_value", param=name
        )
