"""The configuration of the built-in engine: its model, its share of the machine, the length of its queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from antiphon.domain import limits
from antiphon.models.catalog import ChatSettings
from antiphon.models.context import pool_of

#: Prompt tokens of one step, unless configured otherwise. Answers stand still for the step in which a prompt arrives
#: beside them, and nothing can be cancelled within one.
BATCH = 128


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """One local model and its child process.

    `model`: the GGUF file. `name`: the model's public name. `slots`: generations at the same time; `context`: the most
    tokens of one (prompt and answer together); `trained_context`: the most that could be set, if known. `threads`: None
    lets the child use the cores it may use. `pinning`: numbers of the processors it may run on (Linux only).
    `cache_ram_mib`: the bound of the prompt cache. `batch`: prompt tokens evaluated in one step; between two steps
    other slots get their token and a cancelled prompt ends. `gpu_layers`: -1 leaves it
    to llama.cpp. `quiet_machine`: let waiting threads spin, which is somewhat faster
    where nothing else runs. `queue`: requests that may wait for a slot.
    """

    model: Path
    name: str
    slots: int = 2
    context: int = 4096
    trained_context: int | None = None
    threads: int | None = None
    pinning: tuple[int, ...] | None = None
    cache_ram_mib: int = 256
    batch: int = BATCH
    gpu_layers: int = -1
    quiet_machine: bool = False
    queue: int | None = None
    chat: ChatSettings = field(default_factory=ChatSettings)

    @property
    def pool(self) -> int:
        """Tokens that all slots hold together."""
        return pool_of(self.context, self.slots)

    @property
    def queue_length(self) -> int:
        """Requests that may wait for a slot; more are refused."""
        return self.slots * limits.ENGINE_QUEUE_PER_SLOT if self.queue is None else self.queue
