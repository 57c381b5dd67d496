"""multipart/form-data, part by part: what clients send, and what attackers send."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from antiphon.domain import limits
from antiphon.domain.limits import MIB
from hostile import heavy
from support.gate import until
from support.kinds import kinds
from support.manners import refused
from support.metered import MeteredStream, most_delay
from support.rawhttp import Answer, Wire

BOUNDARY = "----boundary42"
END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredStream]:
    with kinds(tmp_path_factory.mktemp("kinds")) as server:
        yield server
        log = server.log()
        assert "Traceback" not in log
        assert "very-secret" not in log


def part(headers: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


def send(server: MeteredStream, body: bytes, path: str = "/test/form", boundary: str = BOUNDARY) -> Answer:
    with Wire(server.url, timeout=60) as wire:
        return wire.ask("POST", path, body, content_type=f"multipart/form-data; boundary={boundary}")


# --- what clients send ------------------------------------------------------------------------------------------------
def test_what_httpx_sends(server: MeteredStream) -> None:
    files = [
        ("file", ("größe.txt", io.BytesIO(b"hello"), "text/plain")),
        ("file", ("empty", io.BytesIO(b""), "application/octet-stream")),
    ]
    answer = httpx.post(f"{server.url}/test/form", data={"purpose": "user_data", "note": "ä\r\nb"}, files=files)
    assert answer.json() == [
        {"name": "purpose", "filename": None, "type": None, "text": "user_data"},
        {"name": "note", "filename": None, "type": None, "text": "ä\r\nb"},
        {"name": "file", "filename": "größe.txt", "type": "text/plain", "size": 5, "sha256": sha(b"hello")},
        {"name": "file", "filename": "empty", "type": "application/octet-stream", "size": 0, "sha256": sha(b"")},
    ]


def test_what_curl_sends(server: MeteredStream, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "data.bin").write_bytes(data)
    command = ["curl", "-sS", "-F", "purpose=batch", "-F", f"file=@{tmp_path}/data.bin", f"{server.url}/test/form"]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)
    assert shown[0]["text"] == "batch"
    assert (shown[1]["filename"], shown[1]["size"], shown[1]["sha256"]) == ("data.bin", len(data), sha(data))


def test_a_large_file_takes_no_memory_and_makes_nobody_wait(server: MeteredStream) -> None:
    piece = bytes(range(256)) * 4096

    def body() -> Iterator[bytes]:
        yield part('Content-Disposition: form-data; name="file"; filename="f"', b"")[:-2]
        for _ in range(60):
            yield piece
        yield b"\r\n" + END

    server.stall()
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    with heavy.growth(server) as most, httpx.Client(timeout=60) as client:
        answer = client.post(f"{server.url}/test/upload", content=body(), headers=kind)
    assert answer.json() == {"size": 60 * MIB, "sha256": sha(piece * 60)}
    assert most[0] < 16 * MIB
    assert server.stall() < most_delay()
    with httpx.Client() as client:
        got = client.get(f"{server.url}/test/stored", headers={"range": f"bytes={MIB}-{MIB + 9}"})
    assert (got.status_code, got.content) == (206, piece[:10])


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_however_it_is_cut(server: MeteredStream, size: int) -> None:
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n-\r\n--\r\n" * 3
    body = field("a", content) + field("b", b"") + END + b"what comes behind has no meaning"
    with Wire(server.url) as wire:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        wire.send(wire.head("POST", "/test/form", {"content-type": kind}, None)[:-2] + b"content-length: ")
        wire.send(b"%d\r\n\r\n" % len(body))
        for at in range(0, len(body), size):
            wire.send(body[at : at + size])
        shown = wire.read().json()
        assert [(each["name"], each["text"]) for each in shown] == [("a", content.decode()), ("b", "")]
        assert wire.ask("POST", "/test/count", b"1").status == 200


def test_parts_that_nobody_reads_are_passed_over(server: MeteredStream) -> None:
    body = field("a", b"1") + field("b", bytes(300_000)) + field("c", b"3") + END
    assert send(server, body, "/test/names").json() == ["a", "b", "c"]
    assert send(server, body, "/test/first").json() == "a"


def test_a_form_without_parts(server: MeteredStream) -> None:
    assert send(server, END).json() == []


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (r"C:\\Users\\x\\report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/absolute", "absolute"),
        ("", ""),
        ("a;b=c", "a;b=c"),
    ],
)
def test_a_files_name_is_no_path(server: MeteredStream, sent: str, name: str) -> None:
    body = part(f'Content-Disposition: form-data; name="file"; filename="{sent}"', b"x") + END
    assert send(server, body).json()[0]["filename"] == name


# --- what attackers send ----------------------------------------------------------------------------------------------
NAMED = 'Content-Disposition: form-data; name="a"'
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no boundary": b"hello",
    "another boundary": b"--other\r\n\r\nx\r\n--other--\r\n",
    "no end": field("a", b"very-secret"),
    "cut in a header": part(NAMED, b"x")[:40],
    "no name": part("Content-Disposition: form-data", b"x") + END,
    "an empty name": field("", b"x") + END,
    "no disposition": part("Content-Type: text/plain", b"x") + END,
    "another disposition": part('Content-Disposition: attachment; name="a"', b"x") + END,
    "no headers": part("", b"x") + END,
    "a header twice": part(f"{NAMED}\r\n{NAMED}", b"x") + END,
    "a header without a colon": part("Content-Disposition", b"x") + END,
    "a header with spaces": part('Content Disposition: form-data; name="a"', b"x") + END,
    "bare line feeds": field("a", b"x").replace(b"\r\n", b"\n") + END.replace(b"\r\n", b"\n"),
    "a NUL in a name": field("a\x00b", b"x") + END,
    "a name that is no UTF-8": field("a", b"x").replace(b'"a"', b'"\xff\xfe"') + END,
    "a long name": field("a" * (limits.MAX_FIELD_NAME + 1), b"x") + END,
    "a long file name": part(f'{NAMED}; filename="{"f" * (limits.MAX_FILE_NAME + 1)}"', b"x") + END,
    "a NUL in a file name": part(f'{NAMED}; filename="a\x00b"', b"x") + END,
    "base64": part(f"{NAMED}\r\nContent-Transfer-Encoding: base64", b"eA==") + END,
    "something behind a boundary": field("a", b"x").replace(BOUNDARY.encode(), BOUNDARY.encode() + b"x") + END,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_form(server: MeteredStream, name: str) -> None:
    error = refused(send(server, MALFORMED[name]), 400, "invalid_form")
    assert "very-secret" not in error["message"]


def test_text_that_is_no_utf8(server: MeteredStream) -> None:
    error = refused(send(server, field("note", b"\xff\xfe") + END), 400, "invalid_value")
    assert error["param"] == "note"


@pytest.mark.parametrize("boundary", ["", '""', "a" * 71, '"a b "', "ä", '"a\x00b"', '"a\\"b"', "a{b}"])
def test_boundaries_that_are_none(server: MeteredStream, boundary: str) -> None:
    assert send(server, b"--x--\r\n", boundary=boundary).status == 400


@pytest.mark.parametrize("kind", ["application/json", "multipart/mixed; boundary=x", "text/plain", "", "multipart"])
def test_other_types(server: MeteredStream, kind: str) -> None:
    with Wire(server.url) as wire:
        answer = wire.ask("POST", "/test/form", b"--x--\r\n", content_type=kind)
    refused(answer, 415, "unsupported_media_type")


def test_ten_thousand_parts(server: MeteredStream) -> None:
    body = b"".join(field(f"f{number}", b"x") for number in range(10_000)) + END
    server.stall()
    with heavy.growth(server) as most:
        refused(send(server, body), 400, "too_many_form_parts")
        refused(send(server, body, "/test/names"), 400, "too_many_form_parts")
    assert most[0] < 16 * MIB
    assert server.stall() < most_delay()


def test_headers_without_end(server: MeteredStream) -> None:
    many = part("\r\n".join([NAMED, *(f"X-{number}: y" for number in range(10_000))]), b"x") + END
    refused(send(server, many), 400, "form_headers_too_large")
    for header in (f"X: {'y' * 200_000}", f"{'X' * 200_000}: y", "X: " + "y\r\n" * 50):
        answer = send(server, part(f"{NAMED}\r\n{header}", b"x") + END)
        assert answer.error["code"] in ("form_headers_too_large", "invalid_form")


def test_fields_are_bounded(server: MeteredStream) -> None:
    error = refused(send(server, field("big", b"x" * (limits.MAX_FORM_FIELD + 1)) + END), 413, "request_too_large")
    assert error["param"] == "big"
    many = b"".join(field(f"f{number}", b"x" * limits.MAX_FORM_FIELD) for number in range(5)) + END
    refused(send(server, many), 413, "request_too_large")


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n" * 500_000,
        b"\r" * 1_000_000,
        b"-" * 1_000_000,
        (b"\r\n--" + BOUNDARY.encode()[:-1]) * 60_000,
        (b"\r\n--" + BOUNDARY.encode() + b"x") * 50_000,
    ],
    ids=["lines", "returns", "dashes", "nearly boundaries", "boundaries and more"],
)
def test_what_looks_like_boundaries_makes_nobody_wait(server: MeteredStream, content: bytes) -> None:
    body = part('Content-Disposition: form-data; name="file"; filename="f"', content) + END
    server.stall()
    answer = send(server, body)
    if answer.status == 200:
        assert answer.json()[0]["sha256"] == sha(content)
    else:
        refused(answer, 400, "invalid_form")
    assert server.stall() < most_delay()


def test_lines_before_the_first_boundary_make_nobody_wait(server: MeteredStream) -> None:
    server.stall()
    for start in (b"\r\n" * 500_000, b"-" * 1_000_000, b"--" + BOUNDARY.encode()[:-1]):
        assert send(server, start + field("a", b"x") + END).status in (200, 400)
    assert server.stall() < most_delay()


def test_a_client_that_hangs_up_in_the_middle_of_a_file_leaves_nothing(server: MeteredStream) -> None:
    blobs = server.log_file.parent / "blobs"
    before = sorted(str(path) for path in blobs.rglob("*"))
    with Wire(server.url) as wire:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        wire.send(wire.head("POST", "/test/upload", {"content-type": kind, "content-length": "9000000"}, None))
        wire.send(part('Content-Disposition: form-data; name="file"; filename="f"', bytes(3_000_000)))
        until(lambda: list((blobs / ".unfinished").iterdir()), "the file is being written")
    until(lambda: not list((blobs / ".unfinished").iterdir()), "it is removed")
    assert sorted(str(path) for path in blobs.rglob("*")) == before


def sha(data: bytes) -> Any:
    return hashlib.sha256(data).hexdigest()
