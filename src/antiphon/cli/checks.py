"""What `antiphon doctor` looks at. Each check answers with a line or a few, changes nothing, and says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from antiphon.cli.findings import Finding, State
from antiphon.cli.shutdown_checks import shutdowns
from antiphon.cli.upstream_checks import upstreams
from antiphon.datadir import DataDir
from antiphon.domain.errors import AntiphonError
from antiphon.domain.sizes import megabytes
from antiphon.models import gguf, pull
from antiphon.models.context import ContextPlan, plan_context
from antiphon.models.files import sha256_of
from antiphon.models.resolve import ResolvedModel, resolve
from antiphon.settings import Loaded, Settings
from antiphon.settings.gateway import NO_MODEL
from antiphon.settings.machine import available_memory

#: Fewer open files than this are worth a warning: it is the usual least, and enough for some hundred clients.
_FEW_FILES = 1024
#: Less free disk than this (bytes) is worth a warning.
_LITTLE_DISK = 1_000_000_000
#: Above this size (bytes) a database is not read through: that could take minutes.
_MAX_QUICK_CHECK = 2_000_000_000
_IMPORT_TIMEOUT = 60


def all_findings(loaded: Loaded) -> Iterator[Finding]:
    """Run every check, in an order in which the first failure explains the later ones."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _data_dir,
        _database,
        _model,
        _engine,
        _address,
        _files,
        _disk,
        upstreams,
        shutdowns,
    )
    for check in checks:
        subject = check.__name__.strip("_").replace("_", " ")
        try:
            yield from check(loaded.settings)
        except AntiphonError as error:
            yield Finding(State.FAIL, subject, str(error))
        except OSError as error:
            yield Finding(State.FAIL, subject, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))


def _python(settings: Settings) -> Iterator[Finding]:
    yield Finding(State.OK, "python", f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir
    if not path.exists():
        yield Finding(State.OK, "data dir", f"{path} will be made at the first start")
        return
    if not path.is_dir() or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            State.FAIL, "data dir", f"{path} is not a directory you can write to", "choose another with --data-dir"
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(State.FAIL, "data dir", f"{path} is open to others (mode {mode:04o})", f"run: chmod 700 {path}")
        return
    yield Finding(State.OK, "data dir", f"{path} (mode {mode:04o})")
    data_dir = DataDir(path, create=False)
    yield _private_file(data_dir.secret_file, "secret", "will be made at the first start")
    if data_dir.secret_file.exists():
        data_dir.secret()
    yield _private_file(data_dir.default_key_file, "first key", "not kept here; 'antiphon keys create' makes one")


def _private_file(path: Path, subject: str, missing: str) -> Finding:
    if not path.exists():
        return Finding(State.OK, subject, missing)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding(State.FAIL, subject, f"{path} is open to others (mode {mode:04o})", f"run: chmod 600 {path}")
    return Finding(State.OK, subject, f"{path.name} (mode {mode:04o})")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database.startswith("sqlite:"):
        yield _sqlite(Path(settings.database.removeprefix("sqlite:///")), settings)
    else:
        yield _schema(_postgres_revision(settings.database), "PostgreSQL answers", settings)


def _sqlite(path: Path, settings: Settings) -> Finding:
    if not path.exists():
        return Finding(State.OK, "database", f"{path} will be made at the first start")
    restore = f"restore a copy from {DataDir(settings.data_dir, create=False).backups}"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            if path.stat().st_size <= _MAX_QUICK_CHECK:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    return Finding(State.FAIL, "database", f"{path} is damaged: {verdict}", restore)
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except sqlite3.OperationalError:
                row = None
    except sqlite3.DatabaseError as error:
        return Finding(State.FAIL, "database", f"{path} cannot be read: {error}", restore)
    return _schema(row[0] if row else None, str(path), settings)


def _postgres_revision(url: str) -> str | None:
    from antiphon.stores.postgres import PostgresDriver  # an extra, and only some need it

    driver = PostgresDriver(url)
    driver.prepare()
    with closing(driver.connect(read_only=True)) as connection:
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT version_num FROM alembic_version", {})
        except driver.error:
            return None
        rows = cursor.fetchall()
    return str(rows[0][0]) if rows else None


def _schema(revision: str | None, what: str, settings: Settings) -> Finding:
    from antiphon.stores.schema import HEAD  # here: it belongs to SQLAlchemy's part of the house

    if revision == HEAD:
        return Finding(State.OK, "database", f"{what} (schema {revision})")
    if revision is None:
        return Finding(State.WARN, "database", f"{what}: no schema yet", "the next start makes it")
    return Finding(
        State.WARN,
        "database",
        f"{what}: schema {revision}, this version wants {HEAD}",
        "the next start brings an older one up to date (after a copy); a newer one needs a newer Antiphon",
    )


def _model(settings: Settings) -> Iterator[Finding]:
    if settings.model == NO_MODEL:
        yield Finding(State.OK, "model", f"none is served here; {len(settings.routes)} routes lead to upstreams")
        return
    model = resolve(settings.model, settings.models_dir)
    yield _model_file(model, settings)
    yield from _context(model, settings)


def _model_file(model: ResolvedModel, settings: Settings) -> Finding:
    if model.entry is None:
        gguf.read(model.path)
        return Finding(
            State.OK, "model", f"{model.name}: {model.path} (a file of your own; no hash to hold it against)"
        )
    fetch = f"run: antiphon models pull {model.name}"
    state = pull.state(model.entry, settings.models_dir)
    if state in ("absent", "partial"):
        return Finding(State.WARN, "model", f"{model.name} is not here", f"the next start downloads it; or {fetch}")
    if sha256_of(model.path) != model.entry.sha256:
        return Finding(State.FAIL, "model", f"{model.path} is not the file it should be (SHA-256 differs)", fetch)
    return Finding(State.OK, "model", f"{model.name}: {model.path} (SHA-256 verified)")


def _context(model: ResolvedModel, settings: Settings) -> Iterator[Finding]:
    """The context that the next start will have, and the memory that it takes."""
    plan = plan_context(
        model,
        slots=settings.slots,
        cache_ram_mib=settings.cache_ram_mib,
        asked=settings.context,
        available=available_memory(),
    )
    tokens = f"{plan.context} tokens for a request, {plan.pool} shared by {settings.slots} slots"
    text = f"{tokens}; KV cache {megabytes(plan.kv_memory)}"
    if settings.context is not None and plan.context < settings.context:
        advice = f"the model was trained for no more than that; {settings.context} were asked for"
        yield Finding(State.WARN, "context", text, advice)
    else:
        yield Finding(State.OK, "context", text)
    yield _memory(plan)


def _memory(plan: ContextPlan) -> Finding:
    text = f"about {megabytes(plan.needed)} needed"
    if plan.available is None:
        return Finding(State.OK, "memory", f"{text} (this system does not say what is free)")
    text = f"{text}, {megabytes(plan.available)} available"
    if not plan.fits:
        advice = "stop other programs, or choose a smaller model, context or cache_ram_mib"
        return Finding(State.WARN, "memory", text, advice)
    return Finding(State.OK, "memory", text)


def _engine(settings: Settings) -> Iterator[Finding]:
    """In a child process, as the server does it: a library that crashes must not take this report with it."""
    script = "import importlib.metadata as m, xllamacpp; print(m.version('xllamacpp'))"
    advice = "install Antiphon again; on an unusual platform xllamacpp may have to be built from source"
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=_IMPORT_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding(State.FAIL, "engine", f"xllamacpp does not load within {_IMPORT_TIMEOUT} s", advice)
        return
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()
        text = reason[-1] if reason else f"the process ended with {done.returncode}"
        yield Finding(State.FAIL, "engine", f"xllamacpp does not load: {text}", advice)
        return
    yield Finding(State.OK, "engine", f"xllamacpp {done.stdout.strip()}, {settings.threads} threads")


def _address(settings: Settings) -> Iterator[Finding]:
    where = f"{settings.host} port {settings.port}"
    running = DataDir(settings.data_dir, create=False).running() if settings.data_dir.is_dir() else None
    if running and running.port == settings.port:
        yield Finding(State.OK, "address", f"{where}: Antiphon is running there (process {running.pid})")
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        advice = "stop the program that is there, or choose another with --port (and check --host)"
        yield Finding(State.FAIL, "address", f"{where} cannot be had: {error.strerror or error}", advice)
        return
    yield Finding(State.OK, "address", f"{where} is free")


def _files(settings: Settings) -> Iterator[Finding]:
    """Every connection, of clients and to upstreams, is an open file."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        yield Finding(State.OK, "open files", "as many as there are")
    elif soft < _FEW_FILES:
        most = "" if hard == resource.RLIM_INFINITY else f", up to {hard}"
        advice = f"run: ulimit -n {_FEW_FILES} (or more{most}) before the server, or set LimitNOFILE= in its unit"
        yield Finding(State.WARN, "open files", f"only {soft}, and each connection is one", advice)
    else:
        yield Finding(State.OK, "open files", f"{soft} at once")


def _disk(settings: Settings) -> Iterator[Finding]:
    for subject, path in (("disk", settings.data_dir), ("models disk", settings.models_dir)):
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        text = f"{megabytes(free)} free for {path}"
        if free < _LITTLE_DISK:
            yield Finding(State.WARN, subject, text, "free some, or move it to another disk")
        else:
            yield Finding(State.OK, subject, text)
