"""HTTP to the child: the few endpoints of llama.cpp's server that Antiphon uses.

The child is on loopback and asks for a random key. aiohttp sets TCP_NODELAY itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from antiphon.domain.errors import EngineFailed

#: llama.cpp keeps an idle connection for 5 s; we let go of it earlier, so that both never meet on a dead one.
_KEEP_ALIVE = 3.0
#: Admission calls (template, tokens) are short; a long wait means that the child hangs.
_SHORT_TIMEOUT = 60.0
#: A line of the stream: text of one token with 20 alternatives is about 3 KiB; the last one carries all settings.
_LINE_LIMIT = 4 * 1024 * 1024


class NotBegun(EngineFailed):
    """A completion failed before the child took it: it can be asked of the next child."""


class TemplateRefused(Exception):
    """The model's chat template does not take this conversation as it is."""


class Alternative(msgspec.Struct, frozen=True, gc=False):
    """A token that could have been drawn."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class Probability(msgspec.Struct, frozen=True):
    """A drawn token and its alternatives, best first."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[Alternative, ...] = ()


class Timings(msgspec.Struct, frozen=True, gc=False):
    """`cache_n`: prompt tokens taken from the cache."""

    cache_n: int = 0


class PromptProgress(msgspec.Struct, frozen=True, gc=False):
    """How much of a prompt is in the slot: `processed` tokens, of which `cache` were there before."""

    processed: int = 0
    cache: int = 0


class Chunk(msgspec.Struct, frozen=True):
    """One step of a stream. `stop_type` ("eos", "word", "limit") and `timings` come with the last one.

    `tokens` are told only if they were asked for. `prompt_progress` comes alone, if it was asked for, while the prompt
    is read.
    """

    content: str = ""
    tokens: tuple[int, ...] = ()
    stop: bool = False
    stop_type: str = "none"
    tokens_predicted: int = 0
    completion_probabilities: tuple[Probability, ...] = ()
    timings: Timings = Timings()
    prompt_progress: PromptProgress | None = None


class Caps(msgspec.Struct, frozen=True, gc=False):
    """What the model's chat template can render."""

    supports_tools: bool = False
    supports_tool_calls: bool = False
    supports_system_role: bool = True


class Props(msgspec.Struct, frozen=True):
    """The child's description of itself."""

    chat_template_caps: Caps = Caps()
    chat_template: str = ""


class _Prompt(msgspec.Struct, frozen=True):
    prompt: str


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class _Meta(msgspec.Struct, frozen=True):
    n_vocab: int


class _Card(msgspec.Struct, frozen=True):
    meta: _Meta


class _Cards(msgspec.Struct, frozen=True):
    data: tuple[_Card, ...]


_encode = msgspec.json.Encoder().encode
_decode_chunk = msgspec.json.Decoder(Chunk).decode


class BrokenOff(EngineFailed):
    """The child ended a stream before the answer's end, as it does when its cache has no room for the next token."""


class LlamaClient:
    """Calls to one running child. Network faults are raised as `EngineFailed`."""

    def __init__(self, address: str, api_key: str, *, token_timeout: float) -> None:
        import aiohttp  # 15 MB and 0.2 s that a process without a local model does not pay

        self._aiohttp = aiohttp
        # RuntimeError: what aiohttp raises for sessions and connections that we closed ourselves.
        self._faults = (aiohttp.ClientError, ConnectionError, RuntimeError)
        headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_SHORT_TIMEOUT)
        self._address = address
        self._short = aiohttp.ClientSession(
            headers=headers,
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
        )
        # llama.cpp closes the connection after a stream without saying so beforehand.
        self._streams = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=token_timeout),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            read_bufsize=_LINE_LIMIT,
        )
        self._running: set[aiohttp.ClientResponse] = set()
        #: Lines of streams that came, of whichever.
        self.heard = 0

    async def close(self) -> None:
        """Close all connections; running streams end with `EngineFailed`."""
        # Closing a session does not wake the readers of its answers.
        for answer in self._running:
            answer.close()
        await self._short.close()
        await self._streams.close()

    async def healthy(self, timeout: float) -> bool:  # noqa: ASYNC109 - handed to aiohttp, which cancels the call itself
        """Whether the child answers within `timeout` seconds."""
        limit = self._aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._short.get(f"{self._address}/health", timeout=limit) as answer:
                return answer.status == 200
        except (*self._faults, TimeoutError):
            return False

    async def props(self) -> Props:
        """The child's description of itself."""
        _, body = await self._call("GET", "/props")
        return msgspec.json.decode(body, type=Props)

    async def vocabulary_size(self) -> int:
        """Tokens the model knows."""
        _, body = await self._call("GET", "/v1/models")
        return msgspec.json.decode(body, type=_Cards).data[0].meta.n_vocab

    async def render(self, body: bytes) -> str:
        """Messages and tools (JSON of `{"messages": …, "tools": …}`) as the prompt of the model's own template.

        Raises `TemplateRefused` if the template does not take them.
        """
        status, answer = await self._call("POST", "/apply-template", body)
        if status != 200:
            raise TemplateRefused
        return msgspec.json.decode(answer, type=_Prompt).prompt

    async def tokenize(self, text: str, *, begin: bool, special: bool) -> list[int]:
        """Token ids of `text`. `begin` adds what the model wants at the start of a prompt; `special` makes control
        tokens of their names."""
        body = _encode({"content": text, "add_special": begin, "parse_special": special})
        status, answer = await self._call("POST", "/tokenize", body)
        if status != 200:
            raise EngineFailed("The local model could not read the prompt.")
        return msgspec.json.decode(answer, type=_Tokens).tokens

    async def warm_up(self, body: dict[str, Any]) -> None:
        """Have one completion made, for its side effects."""
        await self._call("POST", "/completion", _encode(body))

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """Stream a completion. Closing the generator closes the connection, which ends the completion."""
        begun = False
        try:
            async with self._streams.post(f"{self._address}/completion", data=_encode(body)) as answer:
                if answer.status != 200:
                    raise EngineFailed("The local model refused to begin.")
                begun = True
                self._running.add(answer)
                try:
                    async for line in answer.content:
                        self.heard += 1
                        if line.startswith(b"data: "):
                            chunk = _decode_chunk(line[6:])
                            yield chunk
                            if chunk.stop:
                                return
                finally:
                    self._running.discard(answer)
        except TimeoutError as error:
            raise EngineFailed("The local model stopped making tokens.", code="engine_timeout") from error
        except self._faults as error:
            if not begun:
                raise NotBegun("The local model's process does not answer.") from error
            raise EngineFailed("The local model's process ended in the middle of the answer.") from error
        raise BrokenOff("The local model broke off its answer.")

    async def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """A short call, tried twice: llama.cpp may close an idle connection just when it is used again."""
        for last in (False, True):
            try:
                async with self._short.request(method, f"{self._address}{path}", data=body) as answer:
                    return answer.status, await answer.read()
            except (*self._faults, TimeoutError) as error:
                if last or isinstance(error, TimeoutError):
                    raise EngineFailed("The local model's process does not answer.") from error
        raise AssertionError  # the loop returns or raises
