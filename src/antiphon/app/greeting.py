"""What a server says when it is ready: what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from antiphon.datadir import DataDir
from antiphon.ports import Engine
from antiphon.settings import Settings
from antiphon.settings.routing import all_aliases
from antiphon.settings.storage import user_data_dir


def banner(host: str, port: int, served: str, data_dir: DataDir, model: str) -> str:
    """What to do next, ready to be pasted: the flags that `antiphon env` needs to find this very server are in it."""
    shown = f"[{host}]" if ":" in host else host
    command = f"{_program()} env"
    if data_dir.path != user_data_dir():
        command += f" --data-dir {shlex.quote(str(data_dir.path))}"
    return f"""
  Antiphon is listening on http://{shown}:{port}/v1   ({served})
  In another shell:  eval "$({command})"     then try:
      curl $OPENAI_BASE_URL/responses -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\
        -d '{{"model": "{model}", "input": "Write a short welcome message for a new user signing up to my app."}}'
"""


def model_to_try(settings: Settings, engine: Engine | None) -> str:
    """A name that is answered: the one that OpenAI's examples use, if it is."""
    usual = "gpt-5-mini"
    if usual in settings.routes or (engine is not None and usual in all_aliases(settings)):
        return usual
    names = [name for name in settings.routes if not name.endswith("*")]
    return engine.name if engine is not None else next(iter(names), usual)


def _program() -> str:
    """How this program was called, if that works from another shell too; the name on the path otherwise."""
    called = Path(sys.argv[0])
    try:
        return shlex.quote(str(called.resolve().relative_to(Path.cwd())))
    except ValueError:
        return "antiphon" if shutil.which("antiphon") else shlex.quote(str(called.resolve()))
