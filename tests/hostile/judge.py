"""What every answer must be, whatever was asked: a whole 200, or OpenAI's error object with a status below 500."""

from __future__ import annotations

import json
import re
from typing import Any

from support.rawhttp import Answer

REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
MEMBERS = ["code", "message", "param", "type"]
#: An error tells nothing of the inside.
INSIDE = re.compile(r"Traceback|\.py\b|antiphon\.|sqlite|sk-antiphon-|Error\(|object at 0x", re.IGNORECASE)


def judge(answer: Answer, method: str = "POST") -> None:
    """Check one answer."""
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["openai-processing-ms"].isdigit()
    if method == "HEAD":
        assert answer.status < 500
        assert answer.body == b""
    elif answer.status != 200:
        judge_refusal(answer)
    elif answer.headers["content-type"].startswith("text/event-stream"):
        judge_stream(answer.body)
    else:
        assert isinstance(answer.json(), dict)


def judge_refusal(answer: Answer) -> dict[str, Any]:
    """Check an error, and return its four members."""
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.error
    assert sorted(error) == MEMBERS
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["message"], str)
    assert error["message"].strip()
    assert len(error["message"]) < 3000, "an error repeats too much of what was sent"
    assert error["param"] is None or isinstance(error["param"], str)
    assert isinstance(error["code"], str) or error["code"] is None
    assert not INSIDE.search(error["message"]), error["message"]
    return error


def judge_stream(body: bytes) -> None:
    """Check that a stream ended well."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    for line in lines[:-1]:
        event = json.loads(line)
        assert "error" not in event, event
        assert event.get("type") not in ("response.failed", "error"), event
