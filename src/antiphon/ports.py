"""What the rules need of the world. Real adapters live in `engines/` and `stores/`; the tests' fakes stand beside them.

Each port has one contract suite under `tests/contract/`, which every adapter passes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from antiphon.domain.budgets import Budget, Reservation, Spending
from antiphon.domain.caching import CachedAnswer, CacheState
from antiphon.domain.ledger import Asked, Entry, Sum
from antiphon.domain.organisation import (
    Administrator,
    AuditEntry,
    AuditFilter,
    Invite,
    Member,
    ServiceAccount,
    User,
)
from antiphon.domain.rates import Demand, RateLimit, RateLimits, Reading, Refusal
from antiphon.domain.records import (
    ConversationItem,
    EventBatch,
    EventPage,
    KeyClaim,
    KeyState,
    Page,
    StoredCompletion,
    StoredConversation,
    StoredItem,
    StoredPrompt,
    StoredPromptVersion,
    StoredResponse,
)
from antiphon.domain.retirement import Use
from antiphon.domain.routing import RouteSpec
from antiphon.domain.tenancy import AdminKey, Caller, Key, Project
from antiphon.domain.trail import Trail
from antiphon.protocol.generation import Delta, Generation


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do. What it cannot is refused by name before it is asked.

    `context_tokens`: prompt and answer together. `constrains`: tool choice and JSON schemas are enforced while tokens
    are drawn. `passes_extra`: fields that Antiphon does not know may be passed on. `continues`: an answer that was cut
    off can be gone on with from its `Progress`. `native`: surfaces in whose own words it may be asked, and may answer.
    """

    context_tokens: int
    images: bool = False
    files: bool = False
    audio: bool = False
    logprobs: bool = True
    logit_bias: bool = True
    constrains: bool = True
    passes_extra: bool = False
    continues: bool = False
    native: frozenset[str] = frozenset()


class Engine(Protocol):
    """Makes generations."""

    @property
    def name(self) -> str:
        """The model's name as answers show it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Delta, None]:
        """Admit a generation, then stream its deltas; the last one is always a `Finish`.

        Awaiting the call admits: it raises `ContextLengthExceeded`, `InvalidRequest`, `Overloaded` or
        `EngineUnavailable` before anything is generated. Iterating raises `EngineFailed` if the engine breaks midway.
        Closing the generator (`aclose`) ends the generation within a token and frees its slot.
        """

    async def check(self, generation: Generation) -> None:
        """Raise what `generate` would refuse it with, as far as that can be told without asking for an answer."""

    async def count_tokens(self, generation: Generation) -> int:
        """Input tokens this generation would use, exactly as `generate` would count them."""

    async def start(self) -> None:
        """Get ready. Raises `EngineUnavailable` or `SetupError` if that cannot be done."""

    async def stop(self) -> None:
        """Free everything. Safe to call twice, and on an engine that was never started."""

    async def ready(self) -> bool:
        """Whether a generation could start now."""


@runtime_checkable
class Queueing(Protocol):
    """An engine that makes generations wait for one another."""

    @property
    def waiting(self) -> int:
        """Generations that wait."""


class Route(Protocol):
    """A model name that clients may ask for, and what stands behind it."""

    @property
    def name(self) -> str:
        """The name that clients ask for."""

    @property
    def created_at(self) -> int:
        """Since when it is there (Unix seconds)."""

    @property
    def model(self) -> str:
        """The model's name as answers show it."""

    @property
    def owner(self) -> str:
        """Whose model it is: "antiphon", or an upstream's name."""

    @property
    def spec(self) -> RouteSpec | None:
        """As it was configured; None for a name that was not."""

    @property
    def capabilities(self) -> Capabilities:
        """What some target of it can do."""

    async def generate(self, generation: Generation, trail: Trail) -> AsyncGenerator[Delta, None]:
        """As `Engine.generate`, on whichever target is best; what happens on the way is noted in `trail`.

        Targets are changed before the first delta only. Raises also `UpstreamFailed` and `DeadlineExceeded`, while
        awaited or while iterated.
        """

    async def check(self, generation: Generation) -> None:
        """As `Engine.check`."""

    async def count_tokens(self, generation: Generation) -> int:
        """As `Engine.count_tokens`."""


class TenantStore(Protocol):
    """Projects and their keys."""

    async def create_project(self, project: Project) -> None:
        """Add a project. Raises `Conflict` if a project with that name exists."""

    async def get_project(self, name_or_id: str) -> Project | None:
        """The project with this id or name."""

    async def list_projects(self) -> list[Project]:
        """All projects, oldest first."""

    async def set_response_ttl(self, project_id: str, ttl: int | None) -> bool:
        """How long responses that this project makes from now on are kept; see `Project`. False if there is none."""

    async def create_key(self, key: Key) -> None:
        """Add a key."""

    async def find_key(self, digest: bytes) -> Key | None:
        """The key with this keyed hash, revoked or not."""

    async def list_keys(self, project_id: str | None = None) -> list[Key]:
        """All keys, or one project's, oldest first."""

    async def revoke_key(self, key_id: str, at: int) -> bool:
        """Revoke a key from `at` (Unix seconds) on. False if there is none; revoking twice keeps the first time."""

    async def find_caller(self, digest: bytes) -> Caller | None:
        """The key with this keyed hash, revoked or not, and its project."""

    async def get_key(self, key_id: str) -> Key | None:
        """The key with this id, revoked or not."""


class AccessStore(Protocol):
    """What keys may do, and how much."""

    async def rotate_key(self, key_id: str, successor: Key, until: int, entry: AuditEntry | None = None) -> bool:
        """Add a key in the place of another one, which works until `until` (Unix seconds) at most from then on.

        False, and nothing is changed, if the other one is not there, was revoked, or was replaced before. Raises
        `Conflict` if the new one is there already. `entry` is written with the change, if it was one.
        """

    async def note_uses(self, uses: Mapping[str, int]) -> None:
        """When keys (by id) were last used (Unix seconds). A time before the one that is known is passed over."""

    async def put_rate_limit(self, limit: RateLimit, entry: AuditEntry | None = None) -> None:
        """Set the limits of a subject and a model, whatever they were; an empty one removes them.

        `entry` is written with the change. Raises `InvalidRequest` if the subject has limits for too many models.
        """

    async def list_rate_limits(self, scope: str | None = None, subject: str | None = None) -> list[RateLimit]:
        """All limits, or one scope's, or one subject's; by scope, subject and model."""

    async def limits_of(self, key: Key) -> RateLimits:
        """All limits that a key's calls come under."""


class RateCounters(Protocol):
    """The counters of rate limits. Those of one process are in memory; several servers could share some."""

    async def take(
        self, use: Sequence[Demand], hold: Sequence[Demand], check: Sequence[Demand] = ()
    ) -> tuple[Refusal | None, list[Reading]]:
        """Use what is to be used and hold what is to be held; if a counter has no room for it, nothing is changed.

        `check`: there must be room for this too. Of several refusals, the one that holds the longest is given. The
        readings are of all counters named, in order, and as they are afterwards.
        """

    def give_back(self, held: Sequence[Demand], used: int) -> None:
        """Let go of what was held; `used` of each has come to be used, whether or not there is room. Must not wait."""


class ResponseStore(Protocol):
    """Responses and their items. Everything is looked up by (project, id)."""

    async def put_response(
        self,
        response: StoredResponse,
        items: Sequence[StoredItem] = (),
        events: EventBatch | None = None,
        *,
        appended: Sequence[ConversationItem] = (),
    ) -> None:
        """Insert or replace a response, and add items and events to it. Durable when this returns.

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
    ) -> None:
        """Change status and body of a response that this worker (`response.owner`) is making, and add items and events.

        Raises `LeaseLost`, and changes nothing, if the response is gone, has ended, or has another owner by now. An
        ended response gives up its owner, its lease, its request and its conversation's lock. `appended` are items that
        its conversation gains.
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

    # --- leases -------------------------------------------------------------------------------------------------------
    async def claim_responses(self, owner: str, *, now: int, until: int, limit: int) -> list[StoredResponse]:
        """Take unfinished responses that nobody holds: queued ones, and those whose lease ended before `now`.

        The oldest come first. They belong to `owner` until `until` (both Unix milliseconds).
        """

    async def renew_leases(self, owner: str, until: int) -> None:
        """Hold what `owner` is making, its conversations included, until `until` (Unix milliseconds)."""

    async def release_leases(self, owner: str) -> None:
        """Let others take over what `owner` is making in the background, at once."""

    async def release_lease(self, response: StoredResponse, until: int) -> None:
        """Let others take over one response that `response.owner` holds, from `until` (Unix milliseconds) on."""

    async def request_cancel(self, project_id: str, response_id: str) -> None:
        """Ask whoever makes this background response to stop. Nothing happens if it has ended."""

    async def cancelled_responses(self, owner: str) -> list[tuple[str, str]]:
        """(project, id) of what `owner` is making and was asked to stop."""

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


class ConversationStore(Protocol):
    """Conversations and their items. Everything is looked up by (project, id).

    What says that it raises `NotFound` does so, with param "conversation_id", for a conversation that is not there.
    What says that it raises `ConversationLocked` does so while a response holds the conversation: from
    `lock_conversation` on, for as long as it is stored as unfinished, and in any case until its lease is over.
    """

    async def create_conversation(
        self, conversation: StoredConversation, items: Sequence[ConversationItem] = ()
    ) -> None:
        """Add a conversation with its first items. Raises `InvalidRequest` (code "duplicate_item") for an id twice."""

    async def get_conversation(self, project_id: str, conversation_id: str) -> StoredConversation | None:
        """The conversation, or None if this project has none of that id."""

    async def update_conversation(
        self, project_id: str, conversation_id: str, metadata: bytes
    ) -> StoredConversation | None:
        """Replace the metadata; None if there is no such conversation."""

    async def delete_conversation(self, project_id: str, conversation_id: str) -> bool:
        """Delete a conversation and its items, whatever is going on in it; False if there was none."""

    async def add_conversation_items(
        self, project_id: str, conversation_id: str, items: Sequence[ConversationItem], *, now: int
    ) -> None:
        """Append items, all or none. `now` is in Unix milliseconds.

        Raises `NotFound`, `ConversationLocked`, and `InvalidRequest` (code "duplicate_item", param "items[…].id") for
        an id that the conversation has already.
        """

    async def list_conversation_items(
        self, project_id: str, conversation_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[ConversationItem]:
        """A page of the items. Raises `NotFound`, also (param "after") for an `after` that is not among them."""

    async def get_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str
    ) -> ConversationItem | None:
        """The item, or None if there is no such conversation or item."""

    async def delete_conversation_item(
        self, project_id: str, conversation_id: str, item_id: str, *, now: int
    ) -> StoredConversation | None:
        """Delete an item and return its conversation; None if it has no such item. `now` is in Unix milliseconds.

        Raises `NotFound` and `ConversationLocked`.
        """

    async def conversation_history(
        self, project_id: str, conversation_id: str, *, limit: int
    ) -> list[ConversationItem]:
        """All items in order. Raises `NotFound`, and `InvalidRequest` if there are more than `limit`."""

    async def lock_conversation(
        self, project_id: str, conversation_id: str, response_id: str, *, owner: str, now: int, until: int
    ) -> None:
        """Give the conversation to a response that worker `owner` makes, until `until` (Unix milliseconds, like `now`).

        `renew_leases` prolongs it. Raises `NotFound` and `ConversationLocked`.
        """

    async def unlock_conversation(self, project_id: str, conversation_id: str, response_id: str) -> None:
        """Free the conversation, if that response holds it and is not stored as a background response to be made."""

    async def end_turn(
        self, project_id: str, conversation_id: str, response_id: str, items: Sequence[ConversationItem]
    ) -> None:
        """Append what a response that is not stored has said, and free the conversation.

        Raises `LeaseLost`, and changes nothing, if another response holds it by now. A conversation that was deleted
        gains nothing.
        """


class CompletionStore(Protocol):
    """Stored chat completions."""

    async def put_completion(self, completion: StoredCompletion) -> None:
        """Insert or replace one. Durable when this returns."""

    async def get_completion(self, project_id: str, completion_id: str) -> StoredCompletion | None:
        """The completion, or None if this project has none of that id."""

    async def delete_completion(self, project_id: str, completion_id: str) -> bool:
        """Delete one; False if there was none."""

    async def list_completions(
        self,
        project_id: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        ascending: bool,
    ) -> Page[StoredCompletion]:
        """A page by time of creation. All of `metadata` must match. `after` unknown: `NotFound`, param "after"."""


class PromptStore(Protocol):
    """Prompts and their versions. Versions are numbered from 1 and never change."""

    async def create_prompt(self, prompt: StoredPrompt, body: bytes) -> None:
        """Add a prompt with its first version. Raises `Conflict` if the project has one with that id."""

    async def get_prompt(self, project_id: str, prompt_id: str) -> StoredPrompt | None:
        """The prompt, or None if this project has none of that id."""

    async def list_prompts(
        self, project_id: str, *, after: str | None, limit: int, ascending: bool
    ) -> Page[StoredPrompt]:
        """A page by time of creation. `after` is a prompt's id (unknown: raises `NotFound` with param "after")."""

    async def rename_prompt(self, project_id: str, prompt_id: str, name: str) -> bool:
        """Change the name; False if there is no such prompt."""

    async def delete_prompt(self, project_id: str, prompt_id: str) -> bool:
        """Delete a prompt and its versions; False if there was none."""

    async def add_prompt_version(
        self, project_id: str, prompt_id: str, body: bytes, *, created_at: int, publish: bool
    ) -> int | None:
        """Add the next version and publish it if asked. Returns its number; None if there is no such prompt."""

    async def publish_prompt(self, project_id: str, prompt_id: str, version: int) -> bool:
        """Make this version the one that answers; False if there is no such version."""

    async def get_prompt_version(self, project_id: str, prompt_id: str, version: int) -> StoredPromptVersion | None:
        """A version, or None if there is none of that number."""

    async def list_prompt_versions(
        self, project_id: str, prompt_id: str, *, after: int | None, limit: int, ascending: bool
    ) -> Page[StoredPromptVersion]:
        """A page by number, after number `after` in the order asked for."""


class KeyStore(Protocol):
    """Idempotency keys: which requests were sent with which key, and what they were answered."""

    async def claim_key(self, claim: KeyClaim, *, now: float, until: int) -> KeyState | None:
        """Take a key for a request until `until` (Unix milliseconds); None: it is the caller's.

        Otherwise, what is known of it. It is free if nobody used it in the last `limits.IDEMPOTENCY_TTL` before `now`
        (Unix seconds), or if the same request was sent with it and whoever was answering that has let its claim end.
        """

    async def renew_key(self, claim: KeyClaim, until: int) -> None:
        """Hold it until `until` (Unix milliseconds)."""

    async def settle_key(
        self, claim: KeyClaim, status: int, content_type: str, body: bytes | None, object_id: str | None
    ) -> None:
        """Keep the answer, if the key is still the caller's. `object_id`: what the answer shows."""

    async def release_key(self, claim: KeyClaim) -> None:
        """Forget the key, if it is still the caller's and has no answer."""

    async def forget_answers(self, project_id: str, object_id: str) -> None:
        """Delete the answers that show this object; their keys stay taken."""

    async def sweep_keys(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` keys first used before `before` (Unix seconds). Returns how many were deleted."""


class OrganisationStore(Protocol):
    """Who administers, and what they administer. Times are Unix seconds.

    `entries` go into the log in the same transaction as the change that they tell of, and only if it happens. Lists are
    in the order in which things were added; `after` is an id (unknown: raises `NotFound` with param "after").
    """

    # --- users, and their places in projects --------------------------------------------------------------------------
    async def add_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a user. Raises `Conflict` for an email that somebody has."""

    async def get_user(self, user_id: str) -> User | None:
        """The user with this id."""

    async def find_user(self, email: str) -> User | None:
        """The user with this email, which is in small letters."""

    async def first_user(self) -> User | None:
        """The user who has been here longest; None if there is nobody."""

    async def list_users(
        self, emails: Sequence[str] = (), *, after: str | None, limit: int, ascending: bool = True
    ) -> Page[User]:
        """A page of users: all, or those with these emails."""

    async def update_user(self, user: User, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change role, technical level and persona. False if there is no such user.

        Raises `Conflict` (code "last_owner") rather than to leave the organisation without an owner.
        """

    async def delete_user(self, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete a user with their places, and revoke all their keys. False and `Conflict` as in `update_user`."""

    async def add_member(self, member: Member, entries: Sequence[AuditEntry] = ()) -> None:
        """Give a user a place in a project. Raises `Conflict` if they have one."""

    async def get_member(self, project_id: str, user_id: str) -> Member | None:
        """A user's place in a project."""

    async def list_members(self, project_id: str, *, after: str | None, limit: int) -> Page[Member]:
        """A page of a project's members. `after` is a user's id."""

    async def member_roles(self, user_id: str) -> dict[str, str]:
        """The user's role in each project that they are a member of."""

    async def set_member_role(
        self, project_id: str, user_id: str, role: str, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Change a member's role; False if there is no such member."""

    async def delete_member(self, project_id: str, user_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Take a user's place in a project, and revoke their keys for it; False if they have none."""

    # --- service accounts ---------------------------------------------------------------------------------------------
    async def add_service_account(
        self, account: ServiceAccount, key: Key | None, entries: Sequence[AuditEntry] = ()
    ) -> None:
        """Add a service account, with its first key where one is given."""

    async def get_service_account(self, project_id: str, account_id: str) -> ServiceAccount | None:
        """The service account; None if this project has none of that id."""

    async def list_service_accounts(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """A page of a project's service accounts."""

    async def update_service_account(self, account: ServiceAccount, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change name and role; False if there is no such service account."""

    async def delete_service_account(
        self, project_id: str, account_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Delete a service account, and revoke its keys; False if there is none."""

    # --- invites ------------------------------------------------------------------------------------------------------
    async def add_invite(self, invite: Invite, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an invite."""

    async def get_invite(self, invite_id: str) -> Invite | None:
        """The invite with this id."""

    async def find_invites(self, email: str) -> list[Invite]:
        """All invites of this email, which is in small letters; the newest first."""

    async def list_invites(self, *, after: str | None, limit: int) -> Page[Invite]:
        """A page of invites."""

    async def accept_invite(
        self, invite_id: str, user: User, members: Sequence[Member], at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Make an invite a user with their places in projects; False if there is none, or it was accepted before."""

    async def delete_invite(self, invite_id: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Delete an invite that nobody has accepted; False if there is none."""

    # --- admin keys ---------------------------------------------------------------------------------------------------
    async def create_admin_key(self, key: AdminKey, entries: Sequence[AuditEntry] = ()) -> None:
        """Add an admin key. Raises `Conflict` if it is there already."""

    async def get_admin_key(self, key_id: str) -> AdminKey | None:
        """The admin key with this id, revoked or not."""

    async def find_admin_key(self, digest: bytes) -> AdminKey | None:
        """The admin key with this keyed hash, revoked or not."""

    async def find_administrator(self, digest: bytes) -> Administrator | None:
        """The admin key with this keyed hash, revoked or not, its user and their roles."""

    async def list_admin_keys(
        self, *, after: str | None, limit: int, ascending: bool = True, revoked: bool = False
    ) -> Page[AdminKey]:
        """A page of admin keys; `revoked`: also those that are."""

    async def admin_key_used(self, key_id: str, at: int) -> None:
        """Note when an admin key was used last."""

    async def revoke_admin_key(
        self, key_id: str, at: int, entries: Sequence[AuditEntry] = (), *, keeps: str | None = None
    ) -> bool:
        """Revoke an admin key; False if there is none that is not revoked.

        `keeps`: a user who must keep a key that works; raises `Conflict` (code "last_admin_key") if it is their last.
        """

    # --- projects and their keys --------------------------------------------------------------------------------------
    async def add_project(self, project: Project, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a project. Raises `Conflict` (param "name") if a project with that name exists."""

    async def page_of_projects(self, *, after: str | None, limit: int, archived: bool) -> Page[Project]:
        """A page of projects; `archived`: also those that are."""

    async def rename_project(self, project_id: str, name: str, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a project's name. False if there is none; raises `Conflict` as `add_project`."""

    async def archive_project(self, project_id: str, at: int, entries: Sequence[AuditEntry] = ()) -> bool:
        """Archive a project for ever. False if there is none; archiving twice keeps the first time."""

    async def add_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> None:
        """Add a key of a project that is there."""

    async def get_project_key(self, project_id: str, key_id: str) -> Key | None:
        """The key, unless it is revoked or another project's."""

    async def page_of_keys(self, project_id: str, *, after: str | None, limit: int) -> Page[Key]:
        """A page of a project's keys that are not revoked."""

    async def revoke_project_key(
        self, project_id: str, key_id: str, at: int, entries: Sequence[AuditEntry] = ()
    ) -> bool:
        """Revoke a key; False if the project has none of that id that is not revoked."""

    async def update_project_key(self, key: Key, entries: Sequence[AuditEntry] = ()) -> bool:
        """Change a key's expiry and scopes; False as in `revoke_project_key`."""


class LedgerStore(Protocol):
    """What each call used and cost."""

    async def add_entries(self, entries: Sequence[Entry]) -> None:
        """Write entries, each once however often it is added."""

    async def find_entries(self, name: str) -> list[Entry]:
        """The entries that made the object with this id, or that have this request id, oldest first."""

    async def usage(self, asked: Asked) -> list[Sum]:
        """Sums of what was asked for, by bucket and then by group; nothing for buckets without entries."""

    async def sweep_entries(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` entries of calls that began before `before` (Unix seconds). Returns how many."""


class BudgetStore(Protocol):
    """Budgets, and what is spent against them. Any `now` is in Unix seconds."""

    async def put_budget(self, budget: Budget, now: float) -> Budget:
        """Add a budget, or change amount, `allow_unknown` and channel of the one with its id.

        A hard one changes the hard one of the same scope, subject and period, if there is one. A new one begins with
        what the ledger says was spent in this window. Returns it as it is stored.
        """

    async def list_budgets(self) -> list[Budget]:
        """All of them, oldest first."""

    async def remove_budget(self, budget_id: str) -> bool:
        """Delete one; False if there is none."""

    async def reserve(self, reservation: Reservation, now: float) -> str | None:
        """Reserve its amount on all of its budgets or on none, in one transaction.

        None if it was done; else the id of a hard budget that has not as much left. Budgets that are gone are passed
        over.
        """

    async def spend(self, spending: Spending, now: float) -> list[Budget]:
        """Give a reservation back, if there is one, and add what was spent to its budgets and the others named.

        Nothing happens if the reservation is gone: it is settled already. Returns the budgets that were reached by
        this, each once in its window.
        """

    async def renew_reservations(self, owner: str, until: int) -> None:
        """Hold all reservations of this server until `until` (Unix milliseconds)."""

    async def settle_lapsed(self, now: float, limit: int) -> int:
        """Count up to `limit` reservations as spent that were held until before `now`. Returns how many there were."""


class AuditStore(Protocol):
    """The log of administrative changes. Entries are never changed."""

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry. Durable when this returns. What can be is rather written together with the change itself."""

    async def list_audit(self, wanted: AuditFilter, *, limit: int) -> Page[AuditEntry]:
        """A page, newest first. Raises `NotFound` (param "after" or "before") for an entry that there is not."""


class CacheStore(Protocol):
    """Answers that may be given again, and each project's rule for them."""

    async def get_cached(self, project_id: str, key: bytes, *, now: int) -> CachedAnswer | None:
        """The answer with this key, unless it has expired at `now` (Unix seconds)."""

    async def put_cached(self, answer: CachedAnswer) -> None:
        """Keep an answer in place of the one with its key; none of a project whose rule is `OFF`.

        The oldest answers are forgotten where there would be more than `limits.CACHE_PROJECT_BYTES` of the project, or
        more than `limits.CACHE_TOTAL_BYTES` of all.
        """

    async def clear_cached(self, project_id: str) -> int:
        """Forget all answers of a project. Returns how many there were."""

    async def sweep_cached(self, *, now: int, limit: int) -> int:
        """Delete up to `limit` answers that have expired at `now` (Unix seconds). Returns how many were deleted."""

    async def cache_ttl(self, project_id: str) -> int | None:
        """A project's own rule; see `CacheState`. None also if there is no such project."""

    async def set_cache_ttl(self, project_id: str, ttl: int | None) -> None:
        """Set a project's own rule; see `CacheState`. `OFF` forgets its answers. The project must exist."""

    async def cache_states(self) -> list[CacheState]:
        """The caches of all projects that have one, or a rule for it."""


class UseStore(Protocol):
    """Which key used what is shut down."""

    async def note_use(self, use: Use) -> None:
        """Add `use.count` to what is known of this project, key and subject. The project must exist."""

    async def list_uses(self) -> list[Use]:
        """All uses, the latest first."""


class Store(
    TenantStore,
    AccessStore,
    ResponseStore,
    ConversationStore,
    CompletionStore,
    PromptStore,
    KeyStore,
    OrganisationStore,
    LedgerStore,
    BudgetStore,
    AuditStore,
    CacheStore,
    UseStore,
    Protocol,
):
    """The whole database."""

    async def open(self) -> None:
        """Connect and bring the schema up to date (after a copy of the file, where it is one)."""

    async def close(self) -> None:
        """Write what is pending and disconnect. Safe to call twice."""

    async def ping(self) -> None:
        """Raise `StoreFailed` unless the database answers."""

    @property
    def writes_waiting(self) -> int:
        """Writes that have been asked for and not begun."""


class Clock(Protocol):
    """The time, so that tests can set it."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for measuring."""
