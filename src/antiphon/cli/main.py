"""The command line: its groups, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from antiphon import __version__
from antiphon.cli import (
    admin_keys,
    audit,
    budgets,
    cache,
    config,
    cost,
    doctor,
    env,
    jobs,
    keys,
    limits,
    models,
    projects,
    prompts,
    routes,
    serve,
    top,
    users,
)
from antiphon.domain.errors import AntiphonError

# Without rich: its import would be half of the time that `--help` takes, and plain text is good everywhere.
app = typer.Typer(
    name="antiphon",
    help="Antiphon: the ChatGPT API on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("serve")(serve.serve)
app.command("env")(env.env)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(limits.app, name="limits")
app.add_typer(projects.app, name="projects")
app.add_typer(users.app, name="users")
app.add_typer(admin_keys.app, name="admin-keys")
app.command("audit")(audit.audit)
app.add_typer(prompts.app, name="prompts")
app.add_typer(routes.app, name="routes")
app.command("top")(top.top)
app.add_typer(cost.app, name="cost")
app.add_typer(budgets.app, name="budgets")
app.add_typer(cache.app, name="cache")
app.add_typer(jobs.app, name="jobs")
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"antiphon {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 refused with a reason, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal whose encoding lacks a character shows "?" for it
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="antiphon")
    except AntiphonError as error:
        sys.stderr.write(f"antiphon: {error}\n")
        sys.exit(1)
    except OSError as error:
        # Something outside of this program: a file, a disk, the network. What was being done names itself above; here
        # stands the last resort, since a traceback would tell nobody what to mend.
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"antiphon: {place}{error.strerror or error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
