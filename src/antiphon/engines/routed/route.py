"""A route over several targets: the best one is asked, and others when that fails before its first token."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import msgspec

from antiphon.domain import limits
from antiphon.domain.chance import random
from antiphon.domain.durations import milliseconds
from antiphon.domain.errors import (
    AntiphonError,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    RateLimited,
    ShuttingDown,
    used_by,
)
from antiphon.domain.route_trace import Attempt, RouteTrace
from antiphon.domain.routing import RouteSpec, TargetSpec
from antiphon.engines.routed import retry
from antiphon.engines.routed.choice import Chance, PriceOf, listed_price, order
from antiphon.engines.routed.health import TargetState
from antiphon.engines.routed.target import Target, fits, together
from antiphon.engines.routed.target_stream import StreamDeadlines, TargetLease, TargetStream
from antiphon.ports import Capabilities, Clock
from antiphon.protocol.generation import Delta, Generation


@dataclass(frozen=True, slots=True)
class Tier:
    """Targets that are chosen from. A route's own come first; each of its fallbacks is a tier behind them.

    `spec`: the route whose rule chooses. `retries`: further tries within this tier.
    """

    spec: RouteSpec
    targets: tuple[Target, ...]
    retries: int


@dataclass(slots=True)
class RoutingEnv:
    """What routes depend on: the time, a random number (0 up to 1), and what targets cost.

    `stopped`: the server ends, and nothing is tried again.
    """

    clock: Clock
    chance: Chance = random
    price: PriceOf = listed_price
    stopped: bool = False


class RoutedRoute:
    """Implements `ports.Route`. `created_at` is in Unix seconds."""

    def __init__(self, name: str, spec: RouteSpec, tiers: Sequence[Tier], env: RoutingEnv, created_at: int) -> None:
        """`name`: as clients ask for it, which may be an alias, or stand for the `*` of `spec.name`.

        The route's own `spec` shows its targets as they are asked: with names in place of a star, and with the targets
        of other routes that it falls back to.
        """
        self.name = name
        self.created_at = created_at
        first, *others = [tuple([_as_asked(target) for target in tier.targets]) for tier in tiers]
        fallbacks = tuple([target for tier in others for target in tier])
        self.spec: RouteSpec | None = replace(spec, targets=first, fallbacks=fallbacks)
        self._spec = spec
        self._tiers = tuple(tiers)
        self._env = env
        self._budget = retry.RetryBudget(env.clock.monotonic())
        self._capabilities: Capabilities | None = None

    @property
    def model(self) -> str:
        """The name of the route. Which target has answered is told in headers only."""
        return self.name

    @property
    def owner(self) -> str:
        """The upstream of its first target."""
        return self._tiers[0].targets[0].name.upstream

    @property
    def targets(self) -> list[Target]:
        """Its targets, the fallbacks after the others."""
        return [target for tier in self._tiers for target in tier.targets]

    @property
    def capabilities(self) -> Capabilities:
        """What some target of it can do."""
        if self._capabilities is None:
            self._capabilities = together([target.engine.capabilities for target in self.targets])
        return self._capabilities

    def snapshot(self) -> list[TargetState]:
        """Its targets as they are now."""
        now = self._env.clock.monotonic()
        return [target.health.snapshot(now) for target in self.targets]

    async def generate(self, generation: Generation, trace: RouteTrace) -> AsyncGenerator[Delta, None]:
        """See the port: the stream has begun when this returns."""
        now = self._env.clock.monotonic()
        self._budget.called(now)
        until = asyncio.get_running_loop().time() + self._spec.deadlines.total(streamed=generation.streamed)
        last: AntiphonError | None = None
        fitting = False
        for depth, tier in enumerate(self._tiers):
            fit = [target for target in tier.targets if fits(target.engine.capabilities, generation)]
            fitting = fitting or bool(fit)
            attempt = TierAttempt(self._env, self._budget, generation, trace, tier, until)
            stream = await attempt.first_of(fit)
            if stream is not None:
                trace.fallback = depth > 0
                return stream
            last = attempt.error or last
        if not fitting:
            raise await self._refusal(generation)
        raise last or self._unavailable(generation)

    async def check(self, generation: Generation) -> None:
        """Raise what the first target that could answer would refuse it with."""
        target = self._likely(generation)
        if target is None:
            raise await self._refusal(generation)
        await target.engine.check(_asked_of(target, generation))

    async def count_tokens(self, generation: Generation) -> int:
        """As the first target that could answer counts them."""
        target = self._likely(generation) or self.targets[0]
        return await target.engine.count_tokens(_asked_of(target, generation))

    def _likely(self, generation: Generation) -> Target | None:
        """The first target that fits, one that is well if there is one."""
        now = self._env.clock.monotonic()
        fit = [target for target in self.targets if fits(target.engine.capabilities, generation)]
        well = (target for target in fit if target.health.admits(now))
        return next(well, fit[0] if fit else None)

    async def _refusal(self, generation: Generation) -> AntiphonError:
        """Why no target can do what is asked: in the first one's words."""
        target = self.targets[0]
        try:
            await target.engine.check(_asked_of(target, generation))
        except AntiphonError as error:
            return error
        return InvalidRequest(
            f"No target of the model '{self.name}' can do all that this request asks for.", code="unsupported_value"
        )

    def _unavailable(self, generation: Generation) -> AntiphonError:
        """All that could answer rest, or are left alone since they failed."""
        now = self._env.clock.monotonic()
        fit = [target.health for target in self.targets if fits(target.engine.capabilities, generation)]
        wait = math.ceil(max(1.0, min(health.back_at(now) for health in fit) - now))
        if all(health.resting(now) and health.limited for health in fit):
            return RateLimited(
                f"The servers of the model '{self.name}' take no more requests for now. Please retry later.",
                retry_after=wait,
            )
        return EngineUnavailable(
            f"No server of the model '{self.name}' is available for now. Please retry later.", retry_after=wait
        )


class TierAttempt:
    """One generation, asked of the targets of one tier."""

    def __init__(
        self,
        env: RoutingEnv,
        budget: retry.RetryBudget,
        generation: Generation,
        trace: RouteTrace,
        tier: Tier,
        until: float,
    ) -> None:
        self._env = env
        self._budget = budget
        self._generation = generation
        self._trace = trace
        self._tier = tier
        self._until = until
        #: The last thing that went wrong.
        self.error: AntiphonError | None = None

    async def first_of(self, targets: Sequence[Target]) -> TargetStream | None:
        """The stream of the first of them that begins to answer; None if none does.

        Raises what is wrong with the request itself.
        """
        env = self._env
        now = env.clock.monotonic()
        left = [target for target in targets if target.health.admits(now)]
        if len(left) > 1:
            left = order(self._tier.spec, left, self._generation, now, chance=env.chance, price=env.price)
        tries: dict[Target, int] = {}
        retries = self._tier.retries
        while left:
            target = left.pop(0)
            if tries and not await self._may_retry(target, tries.get(target, 0), retries - sum(tries.values()) + 1):
                return None
            try:
                return await self._ask(target)
            except ContextLengthExceeded as error:
                # Another may have more room; asking costs nothing.
                room = target.engine.capabilities.context_tokens
                left = [other for other in left if other.engine.capabilities.context_tokens > room]
                self.error = error
                if not left:
                    raise
            except AntiphonError as error:
                if self._env.stopped:
                    raise ShuttingDown("The server is shutting down.") from None
                again = retry.retry(error)
                if again == "never":
                    raise
                self.error = error
                tries[target] = tries.get(target, 0) + 1
                if again == "same":
                    left.append(target)
                elif again == "at once":
                    left.insert(0, target)
        return None

    async def _may_retry(self, target: Target, tries: int, left: int) -> bool:
        """Whether there may be another try; waits until it is time for it."""
        loop = asyncio.get_running_loop()
        if left <= 0 or loop.time() >= self._until:
            return False
        if not tries:
            return self._budget.take()
        assert self.error is not None
        if retry.retry(self.error) == "at once":
            return True
        wait = retry.rest(self.error)
        if wait > limits.RETRY_AFTER_WAIT:
            return False
        wait = max(wait, retry.backoff(tries, self._env.chance))
        if loop.time() + wait >= self._until or not self._budget.take():
            return False
        await asyncio.sleep(wait)
        return target.health.admits(self._env.clock.monotonic())

    async def _ask(self, target: Target) -> TargetStream:
        """Ask one target, up to its first delta."""
        clock = self._env.clock
        began = clock.monotonic()
        lease = TargetLease(target.health, clock)
        try:
            first, stream, deadlines_left = await self._first_delta(target)
        except BaseException as error:
            lease.failed(error)
            code = (error.code or error.type) if isinstance(error, AntiphonError) else "cancelled"
            paid = error.paid if isinstance(error, AntiphonError) else True
            ms = milliseconds(clock.monotonic() - began)
            self._trace.attempts.append(Attempt(target.name, code, ms, paid, used_by(error), began))
            raise
        took = clock.monotonic() - began
        lease.answers(took)
        self._trace.attempts.append(Attempt(target.name, None, milliseconds(took), began=began))
        self._trace.target = target.name
        return TargetStream(first, stream, lease, deadlines_left)

    async def _first_delta(self, target: Target) -> tuple[Delta, AsyncGenerator[Delta, None], StreamDeadlines | None]:
        """The first delta, the stream behind it, and how long that may take."""
        if target.punctual and not self._trace.attempts:
            return *(await self._open(target)), None
        loop = asyncio.get_running_loop()
        deadlines = self._tier.spec.deadlines
        first, between = (math.inf, math.inf) if target.punctual else (deadlines.first, deadlines.between)
        async with _deadline(min(loop.time() + first, self._until)):
            return *(await self._open(target)), StreamDeadlines(between, self._until)

    async def _open(self, target: Target) -> tuple[Delta, AsyncGenerator[Delta, None]]:
        stream = await target.engine.generate(_asked_of(target, self._generation))
        try:
            return await anext(stream), stream
        except StopAsyncIteration:
            raise EngineFailed("The model ended its answer before it began.") from None
        except BaseException:
            await stream.aclose()
            raise


class _deadline:  # noqa: N801  (used like a function)
    """As `asyncio.timeout_at`, but raises `DeadlineExceeded`."""

    def __init__(self, until: float) -> None:
        self._timeout = asyncio.timeout_at(until)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._timeout.__aexit__(*exc)  # type: ignore[arg-type]  # what it is given by the interpreter
        except TimeoutError:
            raise DeadlineExceeded("The model took too long to begin its answer.") from None


def _as_asked(target: Target) -> TargetSpec:
    return replace(target.spec, model=target.name.model)


def _asked_of(target: Target, generation: Generation) -> Generation:
    """The generation with the target's own name for its model."""
    if generation.model == target.name.model:
        return generation
    return msgspec.structs.replace(generation, model=target.name.model)
