"""What a request would cost: its tokens counted as the model counts them, at the price of the public list."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from antiphon.cli.env import base_url
from antiphon.domain import limits, money
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

#: What a running server may take to count (seconds): its model may have to be loaded first.
_PATIENCE = 60.0


def estimated(
    loaded: Loaded, file: Path | None, model: str, text: str, output_tokens: int | None, provider: str
) -> dict[str, Any]:
    """The lines of the answer, in order; amounts in US dollars as text, None where they are not known."""
    from antiphon.policy.money.pricing import charged, listed
    from antiphon.protocol.generation import Usage

    body = _request(file, model, text)
    name = str(body["model"])
    tokens, counted = _count(loaded, body)
    most = _most(body, output_tokens)
    rates = listed("", provider, name, tier=body.get("service_tier"))

    def price(usage: Usage) -> str | None:
        cost = None if rates is None else charged(rates, usage)
        return None if cost is None else money.to_dollars(cost.nano)

    lines: dict[str, Any] = {"model": name, "input_tokens": tokens, "counted_with": counted}
    lines["input"] = price(Usage(input_tokens=tokens))
    if most is not None:
        lines["output_tokens"] = f"at most {most}"
        lines["at_most"] = price(Usage(input_tokens=tokens, output_tokens=most))
    lines["prices"] = None if rates is None else f"{rates.version}, {provider}"
    return lines


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


def _count(loaded: Loaded, body: dict[str, Any]) -> tuple[int, str]:
    """Input tokens, and by what they were counted."""
    from antiphon.models import tokens

    encoding = tokens.encoding_name(body["model"])
    messages = _plain_messages(body)
    if encoding is not None and messages is not None:
        count = tokens.count_messages(body["model"], messages)
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
