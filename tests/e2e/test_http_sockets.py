"""WebSockets are resources: any path may be one, with parameters, for holders of a key."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from antiphon.domain.errors import AntiphonError
from support.kinds import KEY, kinds
from support.metered import MeteredStream
from support.rawhttp import Wire


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredStream]:
    with kinds(tmp_path_factory.mktemp("kinds")) as server:
        yield server


def opened(server: MeteredStream, path: str, key: str = KEY) -> ClientConnection:
    url = server.url.replace("http", "ws") + path
    return connect(url, additional_headers={"authorization": f"Bearer {key}"}, compression=None)


def test_parameters_and_messages(server: MeteredStream) -> None:
    with opened(server, "/v1/test/a%20room/echo?model=x") as socket:
        hello = json.loads(socket.recv(5))
        assert hello == {"room": "a room", "query": "model=x", "endpoint": "/v1/test/{room}/echo"}
        socket.send("hi")
        assert json.loads(socket.recv(5)) == {"said": "hi"}
        socket.send(b"\x00\x01\xff")
        assert socket.recv(5) == b"\xff\x01\x00"


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/v1/test/1/echo", "bad", 401), ("/v1/responses", KEY, 404), ("/v1/test/1/2/echo", KEY, 404)],
)
def test_who_may_open_what(server: MeteredStream, path: str, key: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(server, path, key):
        pass
    assert refused.value.response.status_code == status
    error = json.loads(refused.value.response.body)["error"]
    assert set(error) == set(AntiphonError("x").body()["error"])


def test_without_the_upgrade_it_is_no_resource(server: MeteredStream) -> None:
    with Wire(server.url, server.headers) as wire:
        assert wire.ask("GET", "/v1/test/1/echo").status == 404


def test_the_server_ends_them_when_it_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    with kinds(tmp_path_factory.mktemp("kinds")) as server:
        socket = opened(server, "/v1/test/1/echo")
        socket.recv(5)
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "bye")
