"""A running child and what is known about it."""

from __future__ import annotations

from antiphon.domain import limits
from antiphon.engines.llama.client import LlamaClient
from antiphon.engines.llama.config import LlamaConfig
from antiphon.engines.llama.heartbeat import Heartbeat
from antiphon.engines.llama.prefill import PrefillScheduler
from antiphon.engines.llama.process import ChildProcess
from antiphon.engines.llama.prompt import PromptReader
from antiphon.engines.llama.thinking import OPEN

#: The first grammar makes llama.cpp index the vocabulary, which takes a second: better before the first request.
_WARM_UP = {"prompt": "a", "n_predict": 1, "cache_prompt": False, "grammar": '%llguidance {}\nstart: "a"\n'}


class ChildConnection:
    """What the engine needs of one child. Make one with `connect`."""

    def __init__(
        self, client: LlamaClient, prefill: PrefillScheduler, reader: PromptReader, vocabulary_size: int
    ) -> None:
        self.client = client
        self.prefill = prefill
        self.heartbeat = Heartbeat(client.healthy, lambda: prefill.working, lambda: client.heard)
        self.reader = reader
        self.vocabulary_size = vocabulary_size

    @classmethod
    async def connect(cls, child: ChildProcess, api_key: str, config: LlamaConfig) -> ChildConnection:
        """Get to know a child that is ready. Raises `EngineFailed` if it does not answer."""
        client = LlamaClient(
            child.answer.address,
            api_key,
            # What one stream waits for in vain ends alone; the pulse finds a model that does nothing any more.
            token_timeout=limits.ENGINE_TOKEN_TIMEOUT * config.slots,
        )
        try:
            props = await client.props()
            caps = props.chat_template_caps
            size = await client.vocabulary_size()
            await client.warm_up(_WARM_UP)
        except BaseException:
            await client.close()
            raise
        template_tools = config.chat.tools == "template" and caps.supports_tools and caps.supports_tool_calls
        thinks = config.chat.thinking if config.chat.thinking is not None else OPEN in props.chat_template
        reader = PromptReader(client, child.answer.control_tokens, template_tools=template_tools, thinks=thinks)
        return cls(client, PrefillScheduler(client, config.slots, config.batch), reader, size)

    async def watch(self) -> str:
        """Watch until the child must be replaced; returns why."""
        return await self.heartbeat.watch()

    async def close(self) -> None:
        """Close all connections to the child."""
        self.heartbeat.stop_waiting()
        await self.client.close()
