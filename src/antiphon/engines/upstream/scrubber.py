"""What a client must not read of an upstream's words: the secret that it was given, addresses, paths, tracebacks."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

from antiphon.domain import limits

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+", re.IGNORECASE)
_HOST = re.compile(
    r"\b(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|[\w-]+(?:\.[\w-]+)*\.(?:local|internal|lan|svc))(?::\d+)?\b"
)
_KEY = re.compile(r"\b(?:Bearer\s+\S+|(?:sk|pk|rk|gsk|hf|xai)[-_][\w*.-]{6,})", re.IGNORECASE)
_PATH = re.compile(r"(?:/[\w.@-]+){3,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
#: Stands in an answer where the secret stood. It may stand anywhere in a JSON string.
_MASK = b"***"


class Scrubber:
    """Takes out of an upstream's words what a client must not read."""

    def __init__(self, secret: str | None, host: str) -> None:
        """`host`: the upstream's name in the network."""
        words = [word for word in (secret, host) if word and len(word) > 3]
        if secret is not None and len(secret) > 3:
            words += _forms(secret)
        self._words = sorted(dict.fromkeys(words), key=len, reverse=True)
        self._needles = _needles(secret)

    def masked(self, data: bytes) -> bytes:
        """JSON of an answer without the secret, where it stands in it as it is.

        Secrets that are short, or plain words or numbers, are not looked for: they may be part of any text.
        """
        for needle in self._needles:
            if needle in data:
                data = data.replace(needle, _MASK)
        return data

    def clean(self, text: str) -> str:
        """`text` without secrets and addresses, on one line, of bounded length."""
        cut = text[: 4 * limits.MAX_UPSTREAM_WORDS]
        whole = len(cut) == len(text)
        text = cut.partition("Traceback (most recent")[0]
        for word in self._words:
            text = text.replace(word, "…")
        if not whole:
            text = self._without_beginning(text)
        for pattern in (_URL, _KEY, _HOST, _PATH):
            text = pattern.sub("…", text)
        text = _CONTROL.sub(" ", text).strip()
        return text if len(text) <= limits.MAX_UPSTREAM_WORDS else text[: limits.MAX_UPSTREAM_WORDS] + "…"

    def _without_beginning(self, text: str) -> str:
        """`text` that was cut off, without the beginning of a secret at its end."""
        longest = max(map(len, self._words), default=0)
        return text[:-longest] if longest else text

    def identifier(self, value: object, pattern: re.Pattern[str]) -> str | None:
        """`value`, if it is a plain word of that form and holds no secret."""
        if not isinstance(value, str) or not pattern.fullmatch(value) or any(word in value for word in self._words):
            return None
        return value


def _forms(secret: str) -> list[str]:
    """The secret as programs write it into other texts: base64 (wherever it begins there), URL, JSON, hexadecimal."""
    data = secret.encode()
    forms = [quote(secret, safe=""), quote(secret, safe="").lower(), json.dumps(secret)[1:-1], data.hex()]
    forms += [secret.replace("/", "\\/"), data.hex().upper()]
    for before in range(3):
        # Of three places in a group, those whose letters hold bits of what stands before or after are left out.
        text = base64.b64encode(b"\0" * before + data).decode()
        start = (0, 2, 3)[before]
        end = len(text.rstrip("=")) - ((before + len(data)) % 3 != 0)
        forms += [text[start:end], text[start:end].replace("+", "-").replace("/", "_")]
    return [form for form in forms if len(form) > 3]


def _needles(secret: str | None) -> list[bytes]:
    if secret is None or len(secret) < limits.MIN_SECRET_SEARCHED or secret.isdigit():
        return []
    forms = [json.dumps(secret)[1:-1], secret.replace("/", "\\/")]
    return [form.encode() for form in dict.fromkeys(forms)]
