"""Two servers on one PostgreSQL: what is begun on one is followed, cancelled and gone on with on the other."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import openai
from bench.chaos_server import Process, running

from conformance.sequence import check_sequence
from support.gate import until
from support.inside import store_at

#: In place of a longer one, so that a dead server's work need not lie for long.
LEASE = 2.0


def pair(
    tmp_path: Path, url: str, *, pace: float, words: int, continues: bool = True, lease: float | None = None
) -> tuple[Process, Process]:
    """Two servers of one installation: they share their secret, as their administrator has seen to."""
    first = Process(tmp_path / "one", database=url, pace=pace, words=words, continues=continues, lease=lease)
    (tmp_path / "two").mkdir(mode=0o700)
    for name in ("secret.key", "default.key"):
        shutil.copy(tmp_path / "one" / name, tmp_path / "two" / name)
    second = Process(tmp_path / "two", database=url, pace=pace, words=words, continues=continues, lease=lease)
    return first, second


def client(server: Process) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


def test_what_one_makes_the_other_shows_and_stops(tmp_path: Path, postgres_url: str) -> None:
    first, second = pair(tmp_path, postgres_url, pace=0.02, words=100)
    with running(first), running(second):
        here, there = client(first), client(second)
        accepted = here.responses.create(model="gpt-5-mini", input="hi", background=True)
        followed = list(there.responses.retrieve(accepted.id, stream=True))
        check_sequence([event.model_dump(exclude_unset=True) for event in followed])
        assert followed[-1].type == "response.completed"
        again = list(here.responses.retrieve(accepted.id, stream=True))
        assert [event.to_json() for event in again] == [event.to_json() for event in followed]

        slow = here.responses.create(model="gpt-5-mini", input="hi", background=True)
        began = time.monotonic()
        cancelled = there.responses.cancel(slow.id)
        assert cancelled.status == "cancelled"
        assert time.monotonic() - began < 2
        assert here.responses.retrieve(slow.id).status == "cancelled"
        assert here.responses.cancel(slow.id).status == "cancelled"


def test_both_give_the_answers_that_one_has_made(tmp_path: Path, postgres_url: str) -> None:
    first, second = pair(tmp_path, postgres_url, pace=0.0, words=5)
    with running(first), running(second):
        said = []
        for server in (first, second, first):
            raw = client(server).responses.with_raw_response.create(
                model="gpt-5-mini", input="hi", extra_headers={"x-antiphon-cache": "on"}
            )
            said.append((raw.headers["x-antiphon-cache"], raw.parse().output_text))
            until(lambda: kept(postgres_url) == 1, "the answer was not kept")
        assert [what for what, _ in said] == ["miss", "hit", "hit"]
        assert len({text for _, text in said}) == 1


def kept(url: str) -> int:
    """How many answers are cached."""

    return sum(state.answers for state in store_at(url, lambda store: store.cache_states()))


def test_the_work_of_a_dead_server_is_taken_over(tmp_path: Path, postgres_url: str) -> None:
    first, second = pair(tmp_path, postgres_url, pace=0.05, words=100, lease=LEASE)
    with running(second):
        here, there = client(first), client(second)
        seen = []
        stream = here.responses.create(model="gpt-5-mini", input="hi", background=True, stream=True)
        for event in stream:
            seen.append(event)
            if len(seen) == 12:
                break
        owner = seen[0].response.id  # type: ignore[union-attr]  # response.created
        # Whichever of the two had claimed it: kill the first; if the second has it, it simply goes on.
        first.kill()
        began = time.monotonic()
        rest = list(there.responses.retrieve(owner, stream=True, starting_after=seen[-1].sequence_number))
        assert time.monotonic() - began < LEASE + 20
        check_sequence([event.model_dump(exclude_unset=True) for event in [*seen, *rest]])
        text = "".join(event.delta for event in [*seen, *rest] if event.type == "response.output_text.delta")
        assert text == "".join(f"w{number} " for number in range(100))
