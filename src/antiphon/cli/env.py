"""`antiphon env`: what an OpenAI SDK needs to know, as lines for a shell to evaluate."""

from __future__ import annotations

import enum
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.options import with_settings
from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded

if TYPE_CHECKING:
    from antiphon.datadir import DataDir


class Shell(enum.StrEnum):
    """Whose syntax to print."""

    SH = "sh"
    FISH = "fish"


@with_settings("data_dir", "host", "port")
def env(
    loaded: Loaded,
    shell: Annotated[Shell, typer.Option(help="Syntax to print: sh (also bash, zsh), fish.")] = Shell.SH,
    admin: Annotated[
        bool, typer.Option("--admin", help="Print OPENAI_ADMIN_KEY too, if 'admin-keys create --keep' kept one.")
    ] = False,
) -> None:
    """Print OPENAI_BASE_URL and OPENAI_API_KEY for a shell.

    Use it as:  eval "$(antiphon env)"
    """
    from antiphon.datadir import DataDir  # here, because `--help` does not need it

    settings = loaded.settings
    if not settings.data_dir.is_dir():
        raise SetupError(f"There is nothing at {settings.data_dir} yet. Start the server first:  antiphon serve")
    data_dir = DataDir(settings.data_dir, create=False)
    key = data_dir.default_key()
    if key is None:
        raise SetupError(
            f"No first key is kept in {data_dir.path}: start the server once (antiphon serve), "
            "or make a key of your own (antiphon keys create)."
        )
    server = data_dir.running()
    told = loaded.sources["port"].startswith("flag") or loaded.sources["host"].startswith("flag")
    host, port = (server.host, server.port) if server and not told else (settings.host, settings.port)
    if port == 0:
        raise SetupError("The server takes any free port (port = 0), and it is not running.")
    variables = [("OPENAI_BASE_URL", base_url(host, port)), ("OPENAI_API_KEY", key)]
    if admin:
        variables.append(("OPENAI_ADMIN_KEY", _admin_key(data_dir)))
    for name, value in variables:
        typer.echo(assignment(shell, name, value))


def _admin_key(data_dir: DataDir) -> str:
    key = data_dir.admin_key()
    if key is None:
        raise SetupError(f"No admin key is kept in {data_dir.path}: antiphon admin-keys create --keep")
    return key


def base_url(host: str, port: int) -> str:
    """The URL at which this machine reaches a server bound to `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not bound here
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}/v1"


def assignment(shell: Shell, name: str, value: str) -> str:
    """A line that sets and exports a variable, whatever its value holds."""
    if shell is Shell.FISH:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}'"
    return f"export {name}={shlex.quote(value)}"
