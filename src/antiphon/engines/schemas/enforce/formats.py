"""Regular expressions for JSON Schema's formats. Each matches only what is valid, and some not all of that."""

from __future__ import annotations

_NUMBER = "[0-9]{1,6}"
_YEAR = "[1-9][0-9]{3}"
_LEAP = "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)"
_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"(?:{_YEAR}-{_DAY}|{_LEAP}-02-29)"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+\-]{_CLOCK})"
_DAYS = f"(?:{_NUMBER}Y(?:{_NUMBER}M(?:{_NUMBER}D)?)?|{_NUMBER}M(?:{_NUMBER}D)?|{_NUMBER}D)"
_HOURS = f"T(?:{_NUMBER}H(?:{_NUMBER}M(?:{_NUMBER}S)?)?|{_NUMBER}M(?:{_NUMBER}S)?|{_NUMBER}S)"
#: Labels without two hyphens in a row, which mean something else, and so short that a name is never too long.
_LABEL = "[a-zA-Z0-9]{1,20}(?:-[a-zA-Z0-9]{1,20}){0,2}"
_LAST = "[a-zA-Z][a-zA-Z0-9]{0,19}"
_HOST = rf"(?:{_LABEL}\.){{0,3}}{_LAST}"
_WORD = "[a-z\\u{e0}-\\u{f6}\\u{f8}-\\u{ff}\\u{430}-\\u{44f}\\u{4e00}-\\u{9f00}]{1,15}"
_IDN_HOST = rf"(?:{_WORD}\.){{0,3}}{_WORD}"
_LOCAL = r"[a-zA-Z0-9_+\-]{1,15}(?:\.[a-zA-Z0-9_+\-]{1,15}){0,2}"
_EMAIL = rf"{_LOCAL}@(?:{_LABEL}\.){{1,3}}{_LAST}"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_H = "[0-9a-fA-F]{1,4}"
_IPV6 = (
    "(?:"
    + "|".join(
        [
            f"(?:{_H}:){{7}}{_H}",
            *(f"(?:{_H}:){{{n}}}(?::{_H}){{1,{7 - n}}}" for n in range(1, 7)),
            f":(?::{_H}){{1,7}}",
            f"(?:{_H}:){{1,6}}:",
            "::",
        ]
    )
    + ")"
)
_HEX = "[0-9a-fA-F]"
_UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_PCHAR = rf"(?:[a-zA-Z0-9._~!$&'()*+,;=:@\-]|%{_HEX}{{2}})"
_SEGMENT = rf"(?:[a-zA-Z0-9._~!$&'()*+,;=@\-]|%{_HEX}{{2}})"
_UCS = r"[\u{a1}-\u{167f}\u{2030}-\u{205e}\u{3001}-\u{d7ff}]"
_IPCHAR = f"(?:{_PCHAR}|{_UCS})"


def _uri(character: str) -> str:
    tail = rf"(?:\?(?:{character}|[\/?])*)?(?:#(?:{character}|[\/?])*)?"
    authority = rf"[a-z][a-z0-9+\-]{{1,10}}:\/\/(?:{_HOST}|{_IPV4})(?::[0-9]{{1,5}})?(?:\/{character}*)*"
    return rf"(?:{authority}{tail}|mailto:{_EMAIL}|urn:[a-z][a-z0-9]{{1,15}}:{character}+)"


def _reference(character: str) -> str:
    tail = rf"(?:\?(?:{character}|[\/?])*)?(?:#(?:{character}|[\/?])*)?"
    return rf"(?:{_uri(character)}|(?:\/{_SEGMENT}+)+{tail}|{_SEGMENT}+(?:\/{character}*)*{tail}|#(?:{character})*)"


_POINTER = r"(?:\/(?:[a-zA-Z0-9_.: $@\-]|~[01])*)*"
_VARIABLE = r"\{[+#.\/;?&]?[a-zA-Z0-9_]{1,30}(?:,[a-zA-Z0-9_]{1,30})*\}"
#: Of regular expressions those that every dialect takes.
_ATOM = r"(?:[a-zA-Z0-9 _@:,\-]|\.|\\\\[dws.]|\[a-z\]|\[0-9\]|\[A-Za-z0-9_\])"
_REGEX = rf"\^?(?:{_ATOM}[*+?]?)*\$?"

#: The name of a format and a regular expression for the inside of a JSON string.
FORMATS: dict[str, str] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:{_NUMBER}W|{_DAYS}(?:{_HOURS})?|{_HOURS})",
    "email": _EMAIL,
    "idn-email": f"(?:{_WORD}|{_LOCAL})@{_IDN_HOST}",
    "hostname": _HOST,
    "idn-hostname": _IDN_HOST,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uuid": _UUID,
    "uri": _uri(_PCHAR),
    "uri-reference": _reference(_PCHAR),
    "iri": _uri(_IPCHAR),
    "iri-reference": _reference(_IPCHAR),
    "uri-template": rf"(?:[a-zA-Z0-9._~:\/?#@!$&()*+,;=\-]|%{_HEX}{{2}}|{_VARIABLE})*",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9][0-9]{{0,4}})(?:#|{_POINTER})",
    "regex": _REGEX,
}
#: Formats of numbers, of OpenAPI, with their least and their greatest value.
INTEGERS: dict[str, tuple[int, int]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
#: What says nothing about which values fit.
SILENT = frozenset({"float", "double", "decimal", "password"})
