"""Load the settings: flag, then `ANTIPHON_*` variable, then `antiphon.toml`, then default.

A name that is not declared is an error that suggests the nearest one: a setting that is silently ignored is worse
than a server that does not start.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from antiphon.domain.errors import SetupError
from antiphon.settings import gateway
from antiphon.settings.declared import Declared, Settings, declared
from antiphon.settings.parsers import Misfit, Unfit
from antiphon.settings.storage import own_database, user_data_dir

FILE_NAME = "antiphon.toml"
#: Names the file itself; a variable, but not a setting.
CONFIG_VARIABLE = "ANTIPHON_CONFIG"
_PREFIX = "ANTIPHON_"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings and, for each by name, where its value came from.

    A source is "flag --port", "variable ANTIPHON_PORT", the path of the file, or "default". `config_file` is the file
    that was read, if any.
    """

    settings: Settings
    sources: Mapping[str, str]
    config_file: Path | None = None


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path, of: type[Settings] = Settings) -> Loaded:
    """The settings that these flags (by setting name, plus "config"; None: not given) and variables make.

    The file is the one that `config` or ANTIPHON_CONFIG names, else `antiphon.toml` in `cwd`, else in the data
    directory. `of`: a subclass, where there are features from outside with settings of their own. Raises `SetupError`
    that names the source of what is wrong.
    """
    known = declared(of)  # type: ignore[arg-type]  # mypy takes the instances' __hash__ for the class's
    by_flag = _from_flags(flags, known)
    by_variable = _from_variables(environ, known)
    named = flags.get("config") or environ.get(CONFIG_VARIABLE)
    file = _find_file(named, cwd, _early_data_dir(by_variable | by_flag, known))
    by_file = _from_file(file, known) if file is not None else {}
    chosen = by_file | by_variable | by_flag
    settings = of(**{name: _parse(known[name], given) for name, given in chosen.items()})
    if not settings.database:
        settings = replace(settings, database=f"sqlite:///{own_database(settings.data_dir)}")
    if file is not None and file.parent == _early_data_dir(by_variable | by_flag, known) != settings.data_dir:
        raise SetupError(f"data_dir cannot be set in {file}, which was found because it is in the data directory.")
    gateway.check(settings.model, settings.upstreams, settings.routes, settings.project_routes)
    sources = {name: chosen[name].source if name in chosen else "default" for name in known}
    return Loaded(settings, sources, file)


@dataclass(frozen=True, slots=True)
class _Given:
    """A raw value, and where it was given."""

    raw: object
    source: str


def _from_flags(flags: Mapping[str, object], known: Mapping[str, Declared]) -> dict[str, _Given]:
    given = {name: raw for name, raw in flags.items() if raw is not None and name != "config"}
    for name in given:
        _check_known(name, known, "flag")
    return {name: _Given(raw, f"flag {known[name].flag}") for name, raw in given.items()}


def _from_variables(environ: Mapping[str, str], known: Mapping[str, Declared]) -> dict[str, _Given]:
    names = {item.variable: name for name, item in known.items()}
    given = {}
    for variable, raw in environ.items():
        if variable.startswith(_PREFIX) and variable != CONFIG_VARIABLE:
            _check_known(variable, [*names, CONFIG_VARIABLE], "variable", prefix=_PREFIX)
            given[names[variable]] = _Given(raw, f"variable {variable}")
    return given


def _from_file(file: Path, known: Mapping[str, Declared]) -> dict[str, _Given]:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{file} is not valid TOML: {error}.") from error
    except OSError as error:
        raise SetupError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    for name in document:
        _check_known(name, known, f"setting in {file}:")
    return {name: _Given(raw, str(file)) for name, raw in document.items()}


def _check_known(name: str, known: Iterable[str], what: str, prefix: str = "") -> None:
    """Raise `SetupError` with the nearest name unless `name` is known. A common `prefix` does not make names near."""
    names = [known_name.removeprefix(prefix) for known_name in known]
    if name.removeprefix(prefix) not in names:
        near = get_close_matches(name.removeprefix(prefix), names, n=1, cutoff=0.5)
        hint = f"Did you mean '{prefix}{near[0]}'?" if near else "'antiphon config' lists them all."
        raise SetupError(f"Unknown {what} '{name}'. {hint}")


def _find_file(named: object, cwd: Path, data_dir: Path) -> Path | None:
    """The configuration file: the named one (which must be there), or the first that is there."""
    if named:
        file = cwd / Path(str(named)).expanduser()
        if not _is_file(file):
            raise SetupError(f"There is no configuration file {file}.")
        return file
    return next((file for file in (cwd / FILE_NAME, data_dir / FILE_NAME) if _is_file(file)), None)


def _is_file(path: Path) -> bool:
    """Raises `SetupError` where that cannot be told: a file that may be there must not be passed over."""
    try:
        return path.is_file()
    except OSError as error:
        raise SetupError(f"The configuration file {path} cannot be looked for: {error.strerror}.") from error


def _early_data_dir(given: Mapping[str, _Given], known: Mapping[str, Declared]) -> Path:
    """The data directory as far as it is known before the file is read."""
    value = _parse(known["data_dir"], given["data_dir"]) if "data_dir" in given else user_data_dir()
    assert isinstance(value, Path)
    return value


def _parse(item: Declared, given: _Given) -> Any:
    try:
        return item.spec.parse(given.raw)
    except Misfit as error:
        raise SetupError(f"{error} (in: {given.source}).") from None
    except Unfit as error:
        raise SetupError(f"{item.name} {error}; {given.source} says {item.show(given.raw)}.") from None
