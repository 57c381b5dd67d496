"""Settings of the built-in engine and its model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from antiphon.domain import limits
from antiphon.settings import parsers
from antiphon.settings.machine import physical_cores
from antiphon.settings.spec import Spec


def user_models_dir() -> Path:
    """The platform's directory for this user's model files, such as `~/.cache/antiphon/models`."""
    import platformdirs  # as above

    return platformdirs.user_cache_path("antiphon", appauthor=False) / "models"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Which model it serves, and what it may use of the machine."""

    model: Annotated[
        str,
        Spec(
            parsers.text,
            "Model to serve: a name of the catalog (antiphon models list), the path of a .gguf file, or none",
        ),
    ] = "default"
    models_dir: Annotated[
        Path,
        Spec(
            parsers.path,
            "Directory of model files, shared by all data directories",
            "the platform's user cache directory",
        ),
    ] = field(default_factory=user_models_dir)
    slots: Annotated[int, Spec(parsers.integer(1, 256), "Generations that run at once")] = 2
    context: Annotated[
        int | None,
        Spec(
            parsers.integer(256, 1_048_576),
            "Most tokens of one request, prompt and answer together; the slots share them",
            "what the model was trained for, up to 32768, and less where memory is short",
        ),
    ] = None
    threads: Annotated[int, Spec(parsers.integer(1, 1024), "Threads of the engine", "the number of physical cores")] = (
        field(default_factory=physical_cores)
    )
    pin: Annotated[tuple[int, ...], Spec(parsers.cpus, "CPUs the engine is pinned to, such as 0,2-3", "none")] = ()
    engine_start: Annotated[
        Literal["eager", "lazy"],
        Spec(parsers.one_of("eager", "lazy"), "Load the model at start, or at the first request"),
    ] = "eager"
    cache_ram_mib: Annotated[
        int,
        Spec(parsers.integer(0, 1_048_576), "Most memory of the engine's cache of prompts, in MiB; 0 turns it off"),
    ] = 256
    queue_per_slot: Annotated[
        int, Spec(parsers.integer(0, 10_000), "Requests that may wait for each slot; more are refused with 503")
    ] = limits.ENGINE_QUEUE_PER_SLOT
