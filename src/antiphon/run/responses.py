"""Responses: made, kept, looked up and deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.domain.errors import EngineFailed, InvalidRequest, NotFound
from antiphon.domain.records import Direction, Page, StoredItem, StoredResponse
from antiphon.domain.routes import Routes
from antiphon.ports import Clock, Engine, ResponseStore
from antiphon.protocol.events import Event
from antiphon.protocol.generation import Delta, Generation, Turn
from antiphon.protocol.refusals import unknown_parameter
from antiphon.protocol.responses import items as item_rules
from antiphon.protocol.responses import request as requests
from antiphon.protocol.responses.machine import ResponseMachine
from antiphon.protocol.responses.request import ResponseRequest
from antiphon.run import context
from antiphon.run.driver import drive, finish

Json = dict[str, Any]

_UNFINISHED = frozenset({"in_progress", "queued"})


class ResponseRun:
    """One response being made. Exactly one of `events` and `result` is used, once."""

    def __init__(
        self,
        store: ResponseStore,
        project_id: str,
        request: ResponseRequest,
        base: Json,
        machine: ResponseMachine,
        deltas: AsyncGenerator[Delta, None],
        items: Sequence[Json],
        owner: str,
    ) -> None:
        self.id: str = base["id"]
        self._store = store
        self._project_id = project_id
        self._request = request
        self._base = base
        self._machine = machine
        self._deltas = deltas
        self._owner = owner
        self._unsaved_items = _stored_items("input", items) if request.store else []
        self._saved_outputs = 0
        self._body = b""

    def events(self) -> AsyncGenerator[list[Event], None]:
        """The stream. What it shows is stored before it is yielded."""
        return drive(self._machine, self._deltas, self._commit)

    async def result(self) -> bytes:
        """The finished Response object as JSON, stored if it is to be. Raises what broke the generation."""
        await finish(self._machine, self._deltas, self._commit)
        return self._body

    async def _commit(self) -> None:
        snapshot = self._machine.snapshot()
        self._body = msgspec.json.encode(snapshot)
        if not self._request.store:
            return
        record = StoredResponse(
            project_id=self._project_id,
            id=self.id,
            created_at=self._base["created_at"],
            status=snapshot["status"],
            model=self._base["model"],
            body=self._body,
            previous_response_id=self._base["previous_response_id"],
            owner=self._owner if snapshot["status"] in _UNFINISHED else None,
        )
        fresh = _stored_items("output", self._machine.output[self._saved_outputs :], first=self._saved_outputs)
        await self._store.put_response(record, [*self._unsaved_items, *fresh])
        self._unsaved_items = []
        self._saved_outputs += len(fresh)


class Responses:
    """The Responses surface over the driver. `owner` is the id of this server instance."""

    def __init__(self, store: ResponseStore, routes: Routes[Engine], clock: Clock, owner: str) -> None:
        self._store = store
        self._routes = routes
        self._clock = clock
        self._owner = owner

    async def begin(self, project_id: str, body: Json, extra: Mapping[str, Any]) -> ResponseRun:
        """Admit a request: everything that can be refused is refused here, before anything is made or stored."""
        request = requests.parse(body, extra)
        engine = self._routes.find(request.model).target
        if extra and not engine.capabilities.passes_extra:
            raise unknown_parameter(next(iter(extra)))
        before: list[Json] = []
        if request.previous_response_id is not None:
            before = await context.history(self._store, project_id, request.previous_response_id)
        items = await context.resolve(self._store, project_id, request.items)
        generation = await self._generation(engine, request, before, items)
        try:
            deltas = await engine.generate(generation)
        except InvalidRequest as error:
            raise _in_words_of_this_surface(error) from None
        now = self._clock.now()
        base = requests.new_response(request, engine.name, int(now))
        machine = ResponseMachine(
            base, clock=self._clock.now, obfuscate=request.obfuscate, show_logprobs=request.show_logprobs
        )
        return ResponseRun(self._store, project_id, request, base, machine, deltas, items, self._owner)

    async def _generation(
        self, engine: Engine, request: ResponseRequest, before: Sequence[Json], items: Sequence[Json]
    ) -> Generation:
        turns = [*item_rules.turns(before, path="previous_response_id"), *item_rules.turns(items)]
        item_rules.check_calls(turns)

        def build(kept: Sequence[Turn]) -> Generation:
            return request.generation(engine.name, kept)

        return await context.fit(engine, build, turns) if request.truncate else build(turns)

    async def get(self, project_id: str, response_id: str) -> bytes:
        """The Response object as JSON. Raises `NotFound`."""
        return (await self._find(project_id, response_id)).body

    async def delete(self, project_id: str, response_id: str) -> None:
        """Delete a response and its items. Raises `NotFound`."""
        if not await self._store.delete_response(project_id, response_id):
            raise _not_found(response_id)

    async def input_items(
        self, project_id: str, response_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredItem]:
        """A page of the input items. Raises `NotFound` for the response, and for an `after` that is not among them."""
        await self._find(project_id, response_id)
        return await self._store.list_items(project_id, response_id, after=after, limit=limit, ascending=ascending)

    async def _find(self, project_id: str, response_id: str) -> StoredResponse:
        response = await self._store.get_response(project_id, response_id)
        if response is None:
            raise _not_found(response_id)
        return response

    async def end_unfinished(self) -> int:
        """Give what an earlier run of this instance left unfinished its terminal state; returns how many there were."""
        left = await self._store.unfinished(self._owner)
        error = EngineFailed("The server was stopped while this response was being made.")
        for response in left:
            body = msgspec.json.decode(response.body)
            body |= {"status": "failed", "error": {"code": "server_error", "message": error.message}}
            ended = StoredResponse(
                project_id=response.project_id,
                id=response.id,
                created_at=response.created_at,
                status="failed",
                model=response.model,
                body=msgspec.json.encode(body),
                previous_response_id=response.previous_response_id,
            )
            await self._store.put_response(ended)
        return len(left)


def _stored_items(direction: Direction, items: Sequence[Json], *, first: int = 0) -> list[StoredItem]:
    return [
        StoredItem(item["id"], first + offset, direction, msgspec.json.encode(item))
        for offset, item in enumerate(items)
    ]


def _not_found(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id}' not found.", param="response_id")


#: Which parameter of this surface an engine means by its code; engines know nothing of surfaces.
_PARAMS = {
    "context_length_exceeded": "input",
    "invalid_function_parameters": "tools",
    "invalid_schema": "text.format.schema",
    "no_callable_tool": "tool_choice",
}


def _in_words_of_this_surface(error: InvalidRequest) -> InvalidRequest:
    if error.param is None:
        error.param = _PARAMS.get(error.code or "")
    return error
