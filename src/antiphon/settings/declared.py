"""Every setting, declared once: its name, type, default, and what it is for.

The flags of `antiphon serve`, the `ANTIPHON_*` variables, the keys of `antiphon.toml` and the page
`docs/guide/settings.md` all come from this list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

from antiphon.domain import limits
from antiphon.domain.routing import RouteSpec, UpstreamSpec
from antiphon.settings import gateway, parsers
from antiphon.settings.machine import physical_cores
from antiphon.settings.parsers import Parser

#: Names that OpenAI's documentation and SDK examples use, answered by the default local model.
DEFAULT_ALIASES = {"gpt-5-mini": "default", "gpt-5-nano": "default", "gpt-4o-mini": "default"}


def user_data_dir() -> Path:
    """The platform's directory for this user's data, such as `~/.local/share/antiphon`."""
    import platformdirs  # here, because most commands are told their directory or do not need it

    return platformdirs.user_data_path("antiphon", appauthor=False)


def user_models_dir() -> Path:
    """The platform's directory for this user's model files, such as `~/.cache/antiphon/models`."""
    import platformdirs  # as above

    return platformdirs.user_cache_path("antiphon", appauthor=False) / "models"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a setting is. `shown` describes a default that depends on the machine; `mask` hides a secret in print."""

    parse: Parser
    help: str
    shown: str | None = None
    mask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. Sizes are in bytes unless the name says otherwise, waits in seconds."""

    host: Annotated[str, Spec(parsers.text, "Address to listen on. Anything but loopback must be said explicitly")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Spec(parsers.integer(0, 65535), "Port to listen on; 0 takes a free one")] = 8000
    data_dir: Annotated[
        Path,
        Spec(parsers.path, "Directory of the database, keys and backups", "the platform's user data directory"),
    ] = field(default_factory=user_data_dir)
    models_dir: Annotated[
        Path,
        Spec(
            parsers.path,
            "Directory of model files, shared by all data directories",
            "the platform's user cache directory",
        ),
    ] = field(default_factory=user_models_dir)
    model: Annotated[
        str,
        Spec(
            parsers.text,
            "Model to serve: a name of the catalog (antiphon models list), the path of a .gguf file, or none",
        ),
    ] = "default"
    database: Annotated[
        str,
        Spec(
            parsers.database,
            "Database URL: sqlite:///… or postgresql://…",
            "SQLite in the data directory",
            parsers.mask_url,
        ),
    ] = ""
    database_use: Annotated[
        Literal["auto", "alone", "shared"],
        Spec(
            parsers.one_of("auto", "alone", "shared"),
            "Whether other servers use this database too; auto is alone for SQLite in the data directory, and shared "
            "for any other",
        ),
    ] = "auto"
    blobs: Annotated[
        str,
        Spec(
            parsers.blobs,
            "Where the bytes of files are kept: a folder, or s3://BUCKET/PREFIX (needs the extra s3)",
            "the folder blobs in the data directory",
        ),
    ] = ""
    s3_endpoint: Annotated[
        str, Spec(parsers.web_address, "Address of the server that speaks S3", "Amazon's", parsers.mask_url)
    ] = ""
    s3_region: Annotated[str, Spec(parsers.text, "Region of the bucket", "what the environment says (AWS_REGION)")] = ""
    s3_access_key: Annotated[
        str, Spec(parsers.text, "Access key of S3", "what the environment says (AWS_ACCESS_KEY_ID, or a role)")
    ] = ""
    s3_secret_key: Annotated[
        str,
        Spec(
            parsers.text,
            "Secret key of S3; best said in the variable, since flags are seen by others on the machine",
            "what the environment says (AWS_SECRET_ACCESS_KEY, or a role)",
            parsers.mask_secret,
        ),
    ] = ""
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
    aliases: Annotated[
        Mapping[str, str],
        Spec(
            parsers.table,
            "Names that clients may ask for, and the models that answer; replaces the default table",
            ", ".join(f"{name}={target}" for name, target in DEFAULT_ALIASES.items()),
        ),
    ] = field(default_factory=lambda: dict(DEFAULT_ALIASES))
    alias: Annotated[
        Mapping[str, str],
        Spec(
            parsers.table,
            "Names like those of aliases, in addition to them, such as gpt-*=default: a name that ends with * stands "
            "for all that begin so",
            "none",
        ),
    ] = field(default_factory=dict)
    upstreams: Annotated[
        Mapping[str, UpstreamSpec],
        Spec(gateway.upstreams, "Servers behind this one, by name; see the page on routes", "none"),
    ] = field(default_factory=dict)
    routes: Annotated[
        Mapping[str, RouteSpec],
        Spec(gateway.routes, "Names that clients may ask for, and the targets behind each", "none"),
    ] = field(default_factory=dict)
    project_routes: Annotated[
        Mapping[str, Mapping[str, RouteSpec]],
        Spec(gateway.project_routes, "Routes of single projects, by the project's name or id", "none"),
    ] = field(default_factory=dict)
    unserved_tools: Annotated[
        Literal["refuse", "ignore"],
        Spec(
            parsers.one_of("refuse", "ignore"),
            "What becomes of a request with tools that OpenAI runs and this server does not, such as web_search: it is "
            "refused, or the tools are left out",
        ),
    ] = "refuse"
    max_body: Annotated[int, Spec(parsers.integer(1024, 1024 * limits.MIB), "Most bytes of one request's body")] = (
        limits.MAX_BODY
    )
    max_connections: Annotated[
        int,
        Spec(
            parsers.integer(1, 1_000_000),
            "Connections of clients that may be open at once; more are refused with 503, and fewer are taken where the "
            "system allows few open files",
        ),
    ] = limits.MAX_CONNECTIONS
    cors_origins: Annotated[
        tuple[str, ...], Spec(parsers.texts, "Web origins that may call from a browser; none turns CORS off", "none")
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Spec(
            parsers.networks,
            "Networks of reverse proxies that are believed when they say whom they speak for",
            "none",
        ),
    ] = ()
    drain_timeout: Annotated[
        float, Spec(parsers.seconds(0, 3600), "Seconds that running requests have to finish at a stop")
    ] = limits.DRAIN_TIMEOUT
    metrics: Annotated[
        Literal["local", "admin", "open", "off"],
        Spec(
            parsers.one_of("local", "admin", "open", "off"),
            "Who may read /metrics: this machine (others with an admin key), holders of an admin key, anybody, nobody",
        ),
    ] = "local"
    ledger_days: Annotated[
        int, Spec(parsers.integer(1, 36_500), "Days that the ledger keeps what each call used and cost")
    ] = limits.LEDGER_DAYS
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Spec(parsers.one_of("debug", "info", "warning", "error"), "Least level that is logged"),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Spec(parsers.one_of("auto", "json", "console"), "Form of the log; auto is console on a terminal"),
    ] = "auto"

    def shares_database(self) -> bool:
        """Whether other servers may use the database: then each looks for what the others have written."""
        if self.database_use != "auto":
            return self.database_use == "shared"
        scheme, _, name = self.database.partition("sqlite:///")
        return bool(scheme) or not name or Path(name).resolve() != own_database(self.data_dir).resolve()


def own_database(data_dir: Path) -> Path:
    """The SQLite file of a data directory. A running server has the directory, and so this file, to itself."""
    return data_dir / "antiphon.db"


def all_aliases(settings: Settings) -> Mapping[str, str]:
    """Every alias, of both settings; `alias` goes before."""
    return {**settings.aliases, **settings.alias}


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting as it was declared: `name` is the key in TOML; the flag and the variable follow from it."""

    name: str
    spec: Spec
    default: object

    @property
    def flag(self) -> str:
        """Such as `--data-dir`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Such as `ANTIPHON_DATA_DIR`."""
        return f"ANTIPHON_{self.name.upper()}"

    @property
    def default_text(self) -> str:
        """The default as documentation shows it."""
        return self.spec.shown or str(self.default)

    def show(self, value: object) -> str:
        """A value as it may be printed: secrets masked, lists and tables as a flag would take them."""
        if value is None:
            return f"({self.default_text})"
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, Mapping):
            return ",".join(f"{name}={self._shown(target)}" for name, target in value.items())
        return self.spec.mask(str(value)) if self.spec.mask else str(value)

    def _shown(self, value: object) -> str:
        return f"({self.show(value)})" if isinstance(value, Mapping) else str(value)


@cache
def declared() -> Mapping[str, Declared]:
    """Every setting by name, in the order of the list."""
    hints = get_type_hints(Settings, include_extras=True)
    return {item.name: Declared(item.name, hints[item.name].__metadata__[0], item.default) for item in fields(Settings)}
