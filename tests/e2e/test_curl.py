"""The API as curl sees it: the README's command, and what a stream looks like on the line."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from support.checking import check_stream
from support.real import Server, environment
from support.shallow import NAME as SMALL

CURL = (
    'curl -sSN -D - "$OPENAI_BASE_URL/{path}" -H "Authorization: Bearer $OPENAI_API_KEY" '
    "-H \"Content-Type: application/json\" -d '{body}'"
)


def curl(server: Server, path: str, **body: Any) -> tuple[str, str]:
    """The head and the body of an answer, as curl prints them."""
    script = CURL.format(path=path, body=json.dumps({"model": "gpt-5-mini", **body}))
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        env=environment(**server.variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, _, rest = done.stdout.replace("\r\n", "\n").partition("\n\n")
    return head, rest


def test_whole(small: Server) -> None:
    head, body = curl(small, "responses", input="Say hello.", max_output_tokens=16)
    assert head.startswith("HTTP/1.1 200")
    assert json.loads(body)["model"] == SMALL


def test_stream(small: Server) -> None:
    head, body = curl(small, "responses", input="Say hello.", max_output_tokens=16, stream=True)
    assert "content-type: text/event-stream; charset=utf-8" in head
    assert "cache-control: no-cache" in head
    check_stream("/v1/responses", body.encode())
    *events, done, nothing = [block for block in body.split("\n\n") if not block.startswith(": ")]
    assert (done, nothing) == ("data: [DONE]", "")
    for event in events:
        name, data = re.fullmatch(r"event: (.+)\ndata: (\{.+\})", event).groups()  # type: ignore[union-attr]  # or it fails here
        assert json.loads(data)["type"] == name
    names = [event.partition("\n")[0] for event in events]
    assert names[:2] == ["event: response.created", "event: response.in_progress"]
    assert names[-1] in ("event: response.completed", "event: response.incomplete")


def test_chat_stream(small: Server) -> None:
    said = [{"role": "user", "content": "Say hello."}]
    _, body = curl(small, "chat/completions", messages=said, max_completion_tokens=5, stream=True)
    check_stream("/v1/chat/completions", body.encode())
    *chunks, done, nothing = [block for block in body.split("\n\n") if not block.startswith(": ")]
    assert (done, nothing) == ("data: [DONE]", "")
    assert all(chunk.startswith('data: {"') and "\n" not in chunk for chunk in chunks)


def test_refused_before_the_stream_begins(small: Server) -> None:
    head, body = curl(small, "responses", input="Say hello.", temperature=9, stream=True)
    assert head.startswith("HTTP/1.1 400")
    assert "content-type: application/json" in head
    assert json.loads(body)["error"]["param"] == "temperature"
