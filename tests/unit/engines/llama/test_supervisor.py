"""Starting, watching and ending the child, with a small script in its place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from antiphon.domain import limits
from antiphon.domain.errors import EngineFailed, EngineUnavailable
from antiphon.engines.llama.process import ChildGone, ChildProcess
from antiphon.engines.llama.supervisor import State, Supervisor

READY = "print(json.dumps({'address': 'http://127.0.0.1:1'}), flush=True)\nsys.stdin.read()"


def command(body: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import json, os, signal, sys, time\nconfig = json.loads(sys.stdin.readline())\n{body}",
    ]


class Link:
    """What `connect` makes of a child."""

    def __init__(self, child: ChildProcess) -> None:
        self.pid = child.pid
        self.closed = False

    async def watch(self) -> str:
        await asyncio.Event().wait()
        return "never"

    async def close(self) -> None:
        self.closed = True


async def connect(child: ChildProcess) -> Link:
    return Link(child)


class Stage:
    """A supervisor over scripts: the first launch runs the first one, and the last one is used from then on."""

    def __init__(self, *bodies: str, connect: Callable[[ChildProcess], Coroutine[Any, Any, Link]] = connect) -> None:
        self.launches = 0
        self._bodies = bodies
        self.supervisor: Supervisor[Link] = Supervisor(self._launch, connect, backoff=0.01, down_for=0.05)

    async def _launch(self) -> ChildProcess:
        body = self._bodies[min(self.launches, len(self._bodies) - 1)]
        self.launches += 1
        return await ChildProcess.launch(b"{}", command(body))


def test_it_starts_once_for_all_who_ask_and_stops() -> None:
    async def main() -> None:
        stage = Stage(READY)
        links = await asyncio.gather(*(stage.supervisor.connection() for _ in range(5)))
        assert len({link.pid for link in links}) == stage.launches == 1
        assert stage.supervisor.state is State.READY
        await stage.supervisor.stop()
        await stage.supervisor.stop()
        assert stage.supervisor.state is State.STOPPED
        assert links[0].closed
        assert not psutil.pid_exists(links[0].pid)
        again = await stage.supervisor.connection()
        assert again.pid != links[0].pid
        await stage.supervisor.stop()

    asyncio.run(main())


def test_stopping_what_never_started() -> None:
    asyncio.run(Stage(READY).supervisor.stop())


def test_a_crashed_child_is_replaced() -> None:
    async def main() -> None:
        stage = Stage(READY)
        first = await stage.supervisor.connection()
        os.kill(first.pid, signal.SIGKILL)
        assert await stage.supervisor.replaced(first)
        second = await stage.supervisor.connection()
        assert second.pid != first.pid
        assert first.closed
        await stage.supervisor.stop()

    asyncio.run(main())


def test_who_asks_while_a_crash_is_tidied_up_gets_the_next_child() -> None:
    async def main() -> None:
        tidying = asyncio.Event()

        class Slow(Link):
            async def close(self) -> None:
                tidying.set()
                await asyncio.sleep(0.05)

        async def connect_slow(child: ChildProcess) -> Link:
            return Slow(child)

        stage = Stage(READY, connect=connect_slow)
        first = await stage.supervisor.connection()
        os.kill(first.pid, signal.SIGKILL)
        await tidying.wait()
        assert (await stage.supervisor.connection()).pid != first.pid
        await stage.supervisor.stop()

    asyncio.run(main())


def test_a_child_that_hangs_can_be_killed() -> None:
    async def main() -> None:
        stage = Stage(READY)
        first = await stage.supervisor.connection()
        stage.supervisor.kill()
        assert await stage.supervisor.replaced(first)
        assert (await stage.supervisor.connection()).pid != first.pid
        await stage.supervisor.stop()

    asyncio.run(main())


def test_what_it_says_it_cannot_load_is_not_tried_again_at_once() -> None:
    async def main() -> None:
        stage = Stage("print(json.dumps({'error': 'no such model'}), flush=True)", READY)
        with pytest.raises(EngineUnavailable):
            await stage.supervisor.connection()
        assert stage.supervisor.state is State.DOWN
        with pytest.raises(EngineUnavailable):
            await stage.supervisor.connection()
        assert stage.launches == 1
        await asyncio.sleep(0.06)  # `down_for` of the stage
        assert await stage.supervisor.connection()
        assert stage.launches == 2
        await stage.supervisor.stop()

    asyncio.run(main())


def test_after_too_many_crashes_it_is_left_down() -> None:
    async def main() -> None:
        stage = Stage("sys.exit(3)")
        with pytest.raises(EngineUnavailable):
            await stage.supervisor.connection()
        assert stage.launches == limits.ENGINE_MAX_RESTARTS + 1
        await stage.supervisor.stop()

    asyncio.run(main())


def test_a_child_that_cannot_be_spoken_to_counts_as_crashed() -> None:
    async def refuse(_: ChildProcess) -> Link:
        raise EngineFailed("no answer")

    async def main() -> None:
        stage = Stage(READY, connect=refuse)
        with pytest.raises(EngineUnavailable):
            await stage.supervisor.connection()
        await stage.supervisor.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [
        BlockingIOError(11, "Resource temporarily unavailable"),
        OSError(12, "Cannot allocate memory"),
        FileNotFoundError(2, "No such file or directory"),
        MemoryError(),
        TypeError("a mistake of our own"),
    ],
)
def test_what_the_system_refuses_is_told_at_once_and_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        refusing = True

        async def launch() -> ChildProcess:
            if refusing:
                raise error
            return await ChildProcess.launch(b"{}", command(READY))

        supervisor: Supervisor[Link] = Supervisor(launch, connect, backoff=0.01, down_for=0.05)
        async with asyncio.timeout(20):  # and not `ENGINE_START_TIMEOUT`
            for _ in range(2):
                with pytest.raises(EngineUnavailable) as refused:
                    await supervisor.connection()
                assert refused.value.retry_after
        assert supervisor.state is State.DOWN
        assert type(error).__name__ in caplog.text
        refusing = False
        async with asyncio.timeout(20):
            while supervisor.state is not State.READY:
                with suppress(EngineUnavailable):
                    await supervisor.connection()
                await asyncio.sleep(0.01)
        await supervisor.stop()

    asyncio.run(main())


def test_refusals_in_a_row_are_tried_again_more_and_more_seldom() -> None:
    async def main() -> list[float]:
        launches: list[float] = []

        async def launch() -> ChildProcess:
            launches.append(asyncio.get_running_loop().time())
            raise OSError(11, "Resource temporarily unavailable")

        supervisor: Supervisor[Link] = Supervisor(launch, connect, backoff=0.01, down_for=0.02)
        while len(launches) < 4:
            with pytest.raises(EngineUnavailable):
                await supervisor.connection()
            await asyncio.sleep(0.001)
        await supervisor.stop()
        return [after - before for before, after in pairwise(launches)]

    first, second, third = asyncio.run(main())
    assert first >= 0.02
    assert second >= 0.04
    assert third >= 0.08


def test_a_child_that_must_be_replaced_is() -> None:
    async def main() -> None:
        hanging = asyncio.Event()

        class Watched(Link):
            async def watch(self) -> str:
                await hanging.wait()
                return "it has not answered"

        async def connect_watched(child: ChildProcess) -> Link:
            return Watched(child)

        stage = Stage(READY, connect=connect_watched)
        first = await stage.supervisor.connection()
        os.kill(first.pid, signal.SIGSTOP)
        hanging.set()
        assert await stage.supervisor.replaced(first)
        hanging.clear()
        assert (await stage.supervisor.connection()).pid != first.pid
        assert not psutil.pid_exists(first.pid)
        await stage.supervisor.stop()

    asyncio.run(main())


def test_a_start_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        stage = Stage("time.sleep(60)")
        with pytest.raises(EngineUnavailable):
            await stage.supervisor.connection()
        await stage.supervisor.stop()

    monkeypatch.setattr(limits, "ENGINE_START_TIMEOUT", 0.3)
    asyncio.run(main())


def test_a_child_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        body = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}\ntime.sleep(60)"
        child = await ChildProcess.launch(b"{}", command(body))
        await child.end()
        return await child.wait()

    monkeypatch.setattr("antiphon.engines.llama.process._TERM_TIMEOUT", 0.2)
    assert asyncio.run(main()) == -signal.SIGKILL


def test_stopping_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    os.mkfifo(mark)

    async def main() -> int:
        stage = Stage(f"open({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
        waiting = asyncio.create_task(stage.supervisor.connection())
        pid = int(await asyncio.to_thread(mark.read_text))
        await stage.supervisor.stop()
        with pytest.raises(EngineUnavailable):
            await waiting
        return pid

    assert not psutil.pid_exists(asyncio.run(main()))


def test_its_log_is_bounded_and_holds_errors_only_for_show() -> None:
    body = (
        "sys.stderr.write('x' * 100_000 + '\\n' + '0.1.2 I prompt: secret\\n' * 500 + '0.1.2 E broken\\n')\n"
        "print('not json', flush=True)"
    )

    async def main() -> list[str]:
        child = None
        original = ChildProcess.end

        async def end(self: ChildProcess) -> None:
            nonlocal child
            child = self
            await original(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ChildProcess, "end", end)
            with pytest.raises(ChildGone):
                await ChildProcess.launch(b"{}", command(body))
        assert child is not None
        assert len(child._log) <= 100
        return child.last_words()

    assert asyncio.run(main()) == ["0.1.2 E broken"]


def test_the_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("ANTIPHON_DATABASE", "secret")
    body = "print(json.dumps({'error': ' '.join(sorted(os.environ))}), flush=True)"

    async def main() -> None:
        with pytest.raises(ChildGone) as gone:
            await ChildProcess.launch(b"{}", command(body))
        names = str(gone.value.reason).split()
        assert "PATH" in names
        assert not {"OPENAI_API_KEY", "ANTIPHON_DATABASE"} & set(names)

    asyncio.run(main())
