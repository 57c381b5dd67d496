"""Responses, their items and event logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.domain.jobs import NewJob
from antiphon.domain.records import ConversationItem, EventBatch, EventPage, Page, StoredItem, StoredResponse


class ResponseStore(Protocol):
    """Responses and their items. Everything is looked up by (project, id)."""

    async def put_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
        job: NewJob | None = None,
    ) -> None:
        """Insert or replace a response, and add items and events to it. Durable when this returns.

        `job`: the job that makes it, which has the same id and is stored with it. Raises what `enqueue_job` raises.

        An item replaces the one at its place (direction and position) of that response; all others stay as they are.
        A response in a conversation must hold it (`lock_conversation`): raises `LeaseLost`, and changes nothing, if
        another one does by now. If it has ended, the conversation gains the items `appended`, and is free.
        """

    async def advance_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
        dead: str | None = None,
    ) -> None:
        """Change status and body of a response that this worker (`response.owner`) is making, and add items and events.

        Raises `LeaseLost`, and changes nothing, if the response is gone, has ended, or has another owner by now. An
        ended response gives up its owner and its conversation's lock, and its job ends with it: the response is all
        that is left of it. `dead`: the job stays as a dead letter, with this error. `appended` are items that its
        conversation gains.
        """

    async def get_response(self, project_id: str, response_id: str) -> StoredResponse | None:
        """The response, or None if this project has none of that id."""

    async def delete_response(self, project_id: str, response_id: str) -> bool:
        """Delete a response and its items, and free the conversation that it holds; False if there was none."""

    async def list_items(
        self,
        project_id: str,
        response_id: str,
        *,
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredItem]:
        """A page of a response's input items. `after` is an item id (unknown: raises `NotFound` with param "after")."""

    async def chain(self, project_id: str, response_id: str, *, limit: int) -> list[tuple[str, str]]:
        """(id, status) of a response and its ancestors by previous_response_id, oldest first.

        Empty if there is no such response. Raises `InvalidRequest` (code "previous_response_not_found", param
        "previous_response_id") if an ancestor is gone, or (code "response_chain_too_long") if there are more than
        `limit` of them.
        """

    async def items_of(self, project_id: str, response_ids: Sequence[str]) -> dict[str, list[StoredItem]]:
        """The items of each of these responses that the project has: its input, then its output, in order."""

    async def get_items(self, project_id: str, item_ids: Sequence[str]) -> dict[str, StoredItem]:
        """Those of these items that this project has, in responses or conversations."""

    # --- those that nobody makes any more -----------------------------------------------------------------------------
    async def interrupted_responses(self, *, limit: int) -> list[StoredResponse]:
        """Unfinished foreground responses whose worker is dead."""

    async def adopt_response(self, response: StoredResponse, worker: str) -> bool:
        """Make an unfinished response `worker`'s. False: its worker (`response.owner`) is alive, or it has changed."""

    async def held_responses(self, worker: str) -> list[tuple[str, str]]:
        """(project, id) of the unfinished foreground responses of this worker."""

    # --- event logs ---------------------------------------------------------------------------------------------------
    async def events(self, project_id: str, response_id: str, *, after: int, limit: int) -> EventPage | None:
        """Up to `limit` batches that hold events after sequence number `after`. None: there is no such response."""

    async def newest_events(self, responses: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The first sequence number of the newest batch of each of these (project, id), where there is one."""

    async def trim_events(self, project_id: str, response_id: str, before: int) -> None:
        """Forget the batches that end before sequence number `before`."""

    async def sweep(self, *, now: int, logs_before: int, limit: int) -> int:
        """Delete responses that expired before `now`, and event logs of responses created before `logs_before`.

        Both in Unix seconds; at most `limit` of each. Returns how many there were of what there was more of.
        """
