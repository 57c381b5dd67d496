"""`antiphon doctor`: what is wrong with this installation, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from antiphon.cli.options import AsJson, with_settings
from antiphon.settings import Loaded
from antiphon.settings.declared import declared

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


@with_settings(*declared())
def doctor(
    loaded: Loaded,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with this installation, and what to do. Changes nothing. Exit code 1 if anything fails."""
    from antiphon.cli.checks import all_findings  # here, because `--help` does not need them
    from antiphon.cli.findings import State

    findings = []
    for finding in all_findings(loaded):
        findings.append(finding)
        if not as_json:
            typer.secho(f"{finding.state:<5}", nl=False, fg=_COLOURS[finding.state])
            typer.echo(f" {finding.subject:<12} {finding.text}")
            if finding.advice:
                typer.echo(f"{'':19}→ {finding.advice}")
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    raise typer.Exit(1 if any(finding.state is State.FAIL for finding in findings) else 0)
