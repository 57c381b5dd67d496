"""What a request would cost: its tokens counted as the model counts them, at the price of its route or of the list."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.cli.env import base_url
from antiphon.domain import limits, money
from antiphon.domain.errors import SetupError
from antiphon.domain.route_trace import TargetName
from antiphon.domain.routing import RouteSpec
from antiphon.settings import Loaded, Settings

if TYPE_CHECKING:
    from antiphon.domain.money import Rates
    from antiphon.protocol.generation import Usage

#: What a running server may take to count (seconds): its model may have to be loaded first.
_PATIENCE = 60.0


def estimated(
    loaded: Loaded, file: Path | None, model: str, text: str, output_tokens: int | None, provider: str
) -> dict[str, Any]:
    """The lines of the answer, in order; amounts in US dollars as text, None where they are not known.

    Of a route, the dearest of the targets that it chooses from counts.
    """
    from antiphon.protocol.generation import Usage

    body = _request(file, model, text)
    name = str(body["model"])
    targets = _targets(loaded.settings, name)
    tokens, counted = _count(loaded, body, targets[0][1].model if targets else name)
    most = _most(body, output_tokens)
    rates = _rates(loaded.settings, targets, name, provider, body.get("service_tier"))

    lines: dict[str, Any] = {"model": name, "input_tokens": tokens, "counted_with": counted}
    lines["input"] = _dearest(rates.values(), Usage(input_tokens=tokens))
    if most is not None:
        lines["output_tokens"] = f"at most {most}"
        lines["at_most"] = _dearest(rates.values(), Usage(input_tokens=tokens, output_tokens=most))
    known = [None if rate is None else f"{rate.version}, {whose}" for whose, rate in rates.items()]
    lines["prices"] = None if None in known else "; ".join(filter(None, known))
    return lines


def _targets(settings: Settings, name: str) -> list[tuple[RouteSpec, TargetName]]:
    """What answers under this name, fallbacks aside, and the route that says so; empty if no route has it."""
    from antiphon.domain.routes import Names
    from antiphon.settings.routing import all_aliases

    tags = {tag: spec for spec in reversed(list(settings.routes.values())) for tag in spec.tags}
    stars = {each[:-1]: partial(_itself, spec) for each, spec in settings.routes.items() if each.endswith("*")}
    names = Names(settings.routes, tags, stars)
    for asked in (name, all_aliases(settings).get(name, "")):
        spec = names.plain(asked)
        if spec is None and (make := names.star(asked)) is not None:
            spec = make(asked)
        if spec is not None:
            stands_for = asked[len(spec.name) - 1 :] if spec.name.endswith("*") else spec.name
            return [(spec, TargetName(target.upstream, target.model or stands_for)) for target in spec.targets]
    return []


def _itself(spec: RouteSpec, _: str) -> RouteSpec:
    return spec


def _rates(
    settings: Settings, targets: list[tuple[RouteSpec, TargetName]], model: str, provider: str, tier: str | None
) -> dict[str, Rates | None]:
    """Rates by whose they are. None: unknown."""
    from antiphon.policy.money.pricing import Pricing, listed

    if not targets:
        return {provider: listed("", provider, model, tier=tier)}
    pricing = Pricing(settings.upstreams)
    return {str(target): pricing.rates(spec, target, tier=tier) for spec, target in targets}


def _dearest(rates: Iterable[Rates | None], usage: Usage) -> str | None:
    """The most that this usage may cost. None, if that is unknown for some."""
    from antiphon.policy.money.pricing import charged

    costs = [None if rate is None else charged(rate, usage) for rate in rates]
    known = [cost.nano for cost in costs if cost is not None]
    return money.to_dollars(max(known)) if known and len(known) == len(costs) else None


def _request(file: Path | None, model: str, text: str) -> dict[str, Any]:
    if (file is None) == (not text):
        raise SetupError("Name a file that holds a request, or give a text with --input.")
    if file is None:
        body: Any = {"input": text}
    else:
        try:
            if file.stat().st_size > limits.MAX_BODY:
                raise SetupError(f"{file} is larger than any request may be.")
            body = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
            raise SetupError(f"{file} cannot be read: {reason}.") from None
    if not isinstance(body, dict) or not ("input" in body or "messages" in body):
        raise SetupError("A request is a JSON object with 'input' (Responses) or 'messages' (Chat Completions).")
    name = model or body.get("model")
    if not isinstance(name, str) or not name:
        raise SetupError("Which model? Name it with --model.")
    return {**body, "model": name}


def _most(body: dict[str, Any], output_tokens: int | None) -> int | None:
    for name in ("max_output_tokens", "max_completion_tokens", "max_tokens"):
        if isinstance(body.get(name), int):
            return int(body[name])
    return output_tokens


def _count(loaded: Loaded, body: dict[str, Any], model: str) -> tuple[int, str]:
    """Input tokens, and by what they were counted. `model`: the name of the one that will see them."""
    from antiphon.models import tokens

    encoding = tokens.encoding_name(model)
    messages = _plain_messages(body)
    if encoding is not None and messages is not None:
        count = tokens.count_messages(model, messages)
        assert count is not None
        return count, f"tiktoken, {encoding}"
    return _ask_server(loaded, body), "the running server"


def _plain_messages(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The request as chat messages; None if there is more in it than text, whose tokens only a server can tell."""
    given = body.get("messages", body.get("input"))
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or body.get("tools") or body.get("previous_response_id") or body.get("prompt"):
        return None
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "developer", "content": body["instructions"]})
    for item in items:
        if not isinstance(item, dict) or "role" not in item or item.get("tool_calls"):
            return None
        content = item.get("content")
        if isinstance(content, list) and not all(isinstance(part, dict) and "text" in part for part in content):
            return None
        messages.append(item)
    return messages


def _ask_server(loaded: Loaded, body: dict[str, Any]) -> int:
    from antiphon.datadir import DataDir

    if not loaded.settings.data_dir.is_dir():
        raise SetupError("The tokens of this request can only be counted by a server: start one with 'antiphon serve'.")
    data_dir = DataDir(loaded.settings.data_dir, create=False)
    server, key = data_dir.running(), data_dir.default_key()
    if server is None or key is None:
        raise SetupError(
            f"The tokens of this request for '{body['model'][:100]}' can only be counted by a server that serves it, "
            "and none is running: start one with 'antiphon serve'."
        )
    known = ("model", "input", "instructions", "tools", "previous_response_id", "text", "reasoning")
    asked = {name: body[name] for name in known if name in body}
    if "messages" in body:
        asked["input"] = body["messages"]
    call = urllib.request.Request(  # noqa: S310  (our own server's address, from our own file)
        f"{base_url(server.host, server.port)}/responses/input_tokens",
        json.dumps(asked).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=_PATIENCE) as answer:  # noqa: S310  (as above)
            return int(json.load(answer)["input_tokens"])
    except urllib.error.HTTPError as error:
        raise SetupError(f"The server cannot count this request: {_reason(error)}") from None
    except (OSError, ValueError, KeyError):
        raise SetupError("The running server does not answer.") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}."
