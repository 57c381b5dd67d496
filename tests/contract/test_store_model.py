"""Any series of operations leaves a SQLite store in the state that plain dictionaries say."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.domain.errors import AntiphonError, InvalidRequest, NotFound
from antiphon.domain.records import StoredCompletion, StoredItem, StoredResponse
from antiphon.domain.tenancy import Project
from antiphon.stores.store import SqlStore
from contract.store_kit import ONE, TWO, chain, opened
from support.examples import examples

projects = st.sampled_from([ONE, TWO])
names = st.sampled_from(["a", "b", "c", "d"])
item_names = st.sampled_from(["i", "j", "k", "ü"])
bodies = st.binary(max_size=8)
metadata = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2\x00"]), max_size=2)
pages = st.tuples(st.none() | names | item_names, st.integers(1, 3), st.booleans())


@st.composite
def _responses(draw: st.DrawFn) -> tuple[Any, ...]:
    record = StoredResponse(
        draw(projects),
        draw(names),
        draw(st.integers(0, 3)),
        draw(st.sampled_from(["queued", "in_progress", "completed"])),
        "m",
        draw(bodies),
        draw(st.none() | names),
        draw(st.none() | st.sampled_from(["me", "you"])),
    )
    items = [
        StoredItem(name, position, direction, draw(bodies))
        for direction in ("input", "output")
        for position, name in enumerate(draw(st.lists(item_names, max_size=3)))
    ]
    return ("put_response", record, items)


completions = st.builds(
    StoredCompletion, projects, names, st.integers(0, 3), st.sampled_from("mn"), bodies, bodies, metadata
)
operations = st.one_of(
    _responses(),
    st.tuples(st.just("delete_response"), projects, names),
    st.tuples(st.just("get_response"), projects, names),
    st.tuples(st.just("chain"), projects, names, st.integers(1, 4)),
    st.tuples(st.just("list_items"), projects, names, pages),
    st.tuples(st.just("get_items"), projects, st.lists(item_names, max_size=3)),
    st.tuples(
        st.just("put_completion"),
        st.builds(
            StoredCompletion, projects, names, st.integers(0, 3), st.sampled_from("mn"), bodies, bodies, metadata
        ),
    ),
    st.tuples(st.just("delete_completion"), projects, names),
    st.tuples(st.just("get_completion"), projects, names),
    st.tuples(st.just("list_completions"), projects, st.none() | st.sampled_from("mn"), metadata, pages),
)


class Model:
    """The store as dictionaries. Python's keep the order of insertion; replacing a value keeps its place."""

    def __init__(self) -> None:
        self.responses: dict[tuple[str, str], tuple[StoredResponse, list[StoredItem]]] = {}
        self.completions: dict[tuple[str, str], StoredCompletion] = {}
        #: When each place of a response was first taken: of items with one id, the one at the newest place counts.
        self.clock = 0
        self.taken_at: dict[tuple[str, str, str, int], int] = {}

    def put_response(self, record: StoredResponse, items: list[StoredItem]) -> None:
        key = (record.project_id, record.id)
        places = {(entry.direction, entry.position): entry for entry in self.responses.get(key, (None, []))[1]}
        for entry in items:
            self.clock += 1
            self.taken_at.setdefault((*key, entry.direction, entry.position), self.clock)
            places[entry.direction, entry.position] = entry
        self.responses[key] = (record, [places[place] for place in sorted(places)])

    def delete_response(self, project: str, name: str) -> bool:
        self.taken_at = {place: at for place, at in self.taken_at.items() if place[:2] != (project, name)}
        return self.responses.pop((project, name), None) is not None

    def get_response(self, project: str, name: str) -> StoredResponse | None:
        found = self.responses.get((project, name))
        return found[0] if found else None

    def chain(self, project: str, name: str, limit: int) -> list[Any]:
        found: list[Any] = []
        wanted: str | None = name
        while wanted is not None:
            entry = self.responses.get((project, wanted))
            if entry is None:
                if not found:
                    return []
                raise InvalidRequest("gone", code="previous_response_not_found")
            found.insert(0, entry)
            if len(found) > limit:
                raise InvalidRequest("long", code="response_chain_too_long")
            wanted = entry[0].previous_response_id
        return found

    def list_items(self, project: str, name: str, page: tuple[str | None, int, bool]) -> Any:
        items = self.responses.get((project, name), (None, []))[1]
        inputs = [entry for entry in items if entry.direction == "input"]
        return _page(inputs if page[2] else inputs[::-1], page)

    def get_items(self, project: str, wanted: list[str]) -> dict[str, StoredItem]:
        entries = [
            (self.taken_at[*key, entry.direction, entry.position], entry)
            for key, (_, items) in self.responses.items()
            for entry in items
            if key[0] == project and entry.id in wanted
        ]
        return {entry.id: entry for _, entry in sorted(entries, key=lambda pair: pair[0])}

    def put_completion(self, record: StoredCompletion) -> None:
        self.completions[record.project_id, record.id] = record

    def delete_completion(self, project: str, name: str) -> bool:
        return self.completions.pop((project, name), None) is not None

    def get_completion(self, project: str, name: str) -> StoredCompletion | None:
        return self.completions.get((project, name))

    def list_completions(self, project: str, model: str | None, wanted: dict[str, str], page: Any) -> Any:
        everything = [record for record in self.completions.values() if record.project_id == project]
        everything.sort(key=lambda record: record.created_at)
        if not page[2]:
            everything.reverse()

        def matches(record: StoredCompletion) -> bool:
            return (model is None or record.model == model) and wanted.items() <= record.metadata.items()

        return _page(everything, page, matches)


def _page(entries: list[Any], page: tuple[str | None, int, bool], matches: Any = lambda _: True) -> Any:
    after, limit, _ = page
    if after is not None:
        places = [place for place, entry in enumerate(entries) if entry.id == after]
        if not places:
            raise NotFound("after", param="after")
        entries = entries[places[-1] + 1 :]
    entries = [entry for entry in entries if matches(entry)]
    return entries[:limit], len(entries) > limit


async def _ask(store: SqlStore, name: str, arguments: list[Any]) -> Any:
    if name == "chain":
        return await chain(store, *arguments[:2], limit=arguments[2])
    if name in {"list_items", "list_completions"}:
        after, limit, ascending = arguments.pop()
        if name == "list_items":
            page: Any = await store.list_items(*arguments, after=after, limit=limit, ascending=ascending)
        else:
            project, model, wanted = arguments
            page = await store.list_completions(
                project, model=model, metadata=wanted, after=after, limit=limit, ascending=ascending
            )
        return page.data, page.has_more
    return await getattr(store, name)(*arguments)


async def _compare(path: Path, series: list[tuple[Any, ...]]) -> None:
    model = Model()
    async with opened(f"sqlite:///{path}") as store:
        await store.create_project(Project(ONE, "one", 1))
        await store.create_project(Project(TWO, "two", 2))
        for name, *arguments in series:
            expected = actual = None
            try:
                expected = getattr(model, name)(*arguments)
            except AntiphonError as error:
                expected = (type(error), error.code, error.param if isinstance(error, NotFound) else None)
            try:
                actual = await _ask(store, name, arguments)
            except AntiphonError as error:
                actual = (type(error), error.code, error.param if isinstance(error, NotFound) else None)
            assert actual == expected, name
    # And all of it is still there after reopening.
    async with opened(f"sqlite:///{path}") as store:
        for (project, name), (record, _) in model.responses.items():
            assert await store.get_response(project, name) == record
        for (project, name), completion in model.completions.items():
            assert await store.get_completion(project, name) == completion


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(series=st.lists(operations, min_size=1, max_size=40))
def test_the_store_behaves_like_dictionaries(sqlite_template: Path, series: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(sqlite_template, Path(folder) / "antiphon.db"))
        asyncio.run(_compare(path, series))
