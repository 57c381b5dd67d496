"""The commands: what they print, how they refuse, and that help stays light."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon import __version__
from antiphon.cli import checks
from antiphon.cli.env import Shell, assignment, base_url
from antiphon.cli.output import DownloadProgress
from antiphon.datadir import DataDir, ServerInfo
from antiphon.models import catalog, files
from antiphon.settings.declared import declared
from model_files import Record, gguf

from .conftest import Run

HEAVY = {
    *("aiohttp", "alembic", "asyncio", "huggingface_hub", "jsonschema_rs", "xllamacpp", "platformdirs", "psycopg"),
    *("prometheus_client", "rich", "sqlalchemy", "starlette", "structlog", "uvicorn", "xllamacpp"),
}


# --- help, version, errors --------------------------------------------------------------------------------------------
def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("serve", "env", "models", "keys", "projects", "prompts", "top", "cache", "config", "doctor"):
        assert f"\n  {command} " in done.stdout
    assert "\x1b" not in done.stdout


def test_help_imports_nothing_heavy(environ: dict[str, str]) -> None:
    script = f"import sys, antiphon.cli.main; sys.stdout.write(' '.join(sorted(sys.modules.keys() & {HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_every_setting_is_a_flag_of_serve(run: Run) -> None:
    shown = run("serve", "--help").stdout
    for item in declared().values():
        assert f"{item.flag} " in shown


def test_a_process_of_its_own_does_as_the_commands_here(start: Run, run: Run) -> None:
    version = start("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"antiphon {__version__}\n", "")
    for args in (("config", "--port", "x"), ("serve", "--prt", "1"), ("env",)):
        there, here = start(*args), run(*args)
        assert there.returncode == here.returncode > 0
        assert (there.stdout, there.stderr) == (here.stdout, here.stderr)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("models", "pull", "smollm"), 1, "antiphon: There is no model 'smollm' in the catalog. Did you mean"),
        (("config", "--port", "x"), 1, "antiphon: port must be a whole number from 0 to 65535; flag --port says x."),
        (("serve", "--model", "none.gguf"), 1, "antiphon: The model file none.gguf cannot be read"),
        (("serve", "--prt", "1"), 2, "--port"),
        (("nonsense",), 2, "nonsense"),
        (("keys", "list", "--database", "sqlite:////dev/null/x.db"), 1, "antiphon: "),
    ],
)
def test_errors_are_one_clear_line(run: Run, args: tuple[str, ...], code: int, said: str) -> None:
    done = run(*args)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_variable_is_refused(run: Run) -> None:
    done = run("config", env={"ANTIPHON_PROT": "1"})
    assert done.returncode == 1
    assert done.stderr == "antiphon: Unknown variable 'ANTIPHON_PROT'. Did you mean 'ANTIPHON_PORT'?\n"


def test_ctrl_c_ends_a_command_quietly(tmp_path: Path, environ: dict[str, str]) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with files.locked(catalog.find("smollm2-135m").path(models), Record()):  # so that the command waits
        command = [sys.executable, "-m", "antiphon", "models", "pull", "smollm2-135m"]
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            seen = ""
            while "waiting for it" not in seen:
                seen += process.stderr.readline()
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in rest


# --- config -----------------------------------------------------------------------------------------------------------
def test_config_says_where_each_setting_came_from(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("slots = 3\ndatabase = 'postgresql://me:secret@host/db'\n")
    args = ("config", "--config", str(file), "--port", "9000")
    document = json.loads(run(*args, "--json", env={"ANTIPHON_HOST": "::1"}).stdout)
    assert document["file"] == str(file)
    settings = document["settings"]
    assert settings["port"] == {"value": 9000, "source": "flag --port"}
    assert settings["host"] == {"value": "::1", "source": "variable ANTIPHON_HOST"}
    assert settings["slots"] == {"value": 3, "source": str(file)}
    assert settings["log_level"] == {"value": "info", "source": "default"}
    assert set(settings) == set(declared())
    table = run(*args).stdout
    assert "secret" not in table + json.dumps(document)
    assert "postgresql://me:***@host/db" in table
    assert [line.split()[0] for line in table.splitlines()] == ["SETTING", *declared()]


# --- env --------------------------------------------------------------------------------------------------------------
def evaluated(lines: str) -> list[str]:
    """What /bin/sh makes of the two variables after evaluating the lines."""
    script = 'eval "$1"; printf "%s\\n" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
    done = subprocess.run(["/bin/sh", "-euc", script, "sh", lines], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_env_can_be_evaluated_by_a_shell(run: Run, tmp_path: Path) -> None:
    DataDir(tmp_path / "data").write_default_key("sk-antiphon-abc_-")
    assert evaluated(run("env").stdout) == ["http://127.0.0.1:8000/v1", "sk-antiphon-abc_-"]
    assert evaluated(run("env", "--port", "81", "--host", "0.0.0.0").stdout)[0] == "http://127.0.0.1:81/v1"


def test_env_asks_the_running_server_first(run: Run, tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.write_default_key("sk-antiphon-x")
    with data_dir.lock():
        data_dir.write_server(ServerInfo(1, "::", 4711))
        assert evaluated(run("env").stdout)[0] == "http://[::1]:4711/v1"
        assert evaluated(run("env", "--port", "5").stdout)[0] == "http://127.0.0.1:5/v1"
    assert evaluated(run("env").stdout)[0] == "http://127.0.0.1:8000/v1"


def test_env_before_the_first_start(run: Run, tmp_path: Path) -> None:
    done = run("env")
    assert done.returncode == 1
    assert "antiphon serve" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("value", ["plain", "it's", '$(id) `id` "x" \\', "a b\tc", "ümlaut"])
def test_no_value_can_escape_its_quotes(value: str) -> None:
    lines = assignment(Shell.SH, "OPENAI_BASE_URL", value) + "\n" + assignment(Shell.SH, "OPENAI_API_KEY", "k")
    assert evaluated(lines) == [value, "k"]


def test_fish_quotes() -> None:
    assert assignment(Shell.FISH, "A", "it's \\") == "set -gx A 'it\\'s \\\\'"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1/v1"),
        ("::1", "http://[::1]:1/v1"),
        ("localhost", "http://localhost:1/v1"),
        ("0.0.0.0", "http://127.0.0.1:1/v1"),
        ("10.0.0.7", "http://10.0.0.7:1/v1"),
    ],
)
def test_base_urls(host: str, url: str) -> None:
    assert base_url(host, 1) == url


# --- keys and projects ------------------------------------------------------------------------------------------------
def test_a_project_says_how_long_its_responses_are_kept(run: Run) -> None:
    run("projects", "create", "acme")
    for said, kept, seconds in (("7", "7 days", 7 * 86_400), ("1", "1 day", 86_400), ("never", "for ever", 0)):
        assert run("projects", "set", "acme", "--response-ttl-days", said).stdout == (
            f"Responses of 'acme' are kept {kept}.\n"
        )
        listed = {p["name"]: p["response_ttl"] for p in json.loads(run("projects", "list", "--json").stdout)}
        assert listed == {"default": None, "acme": seconds}
    shown = {line.split()[1]: line.split()[-3:-1] for line in run("projects", "list").stdout.splitlines()[1:]}
    assert shown == {"default": ["30", "days"], "acme": ["for", "ever"]}


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "forever", "99999999", ""])
def test_days_that_are_none(run: Run, days: str) -> None:
    done = run("projects", "set", "default", f"--response-ttl-days={days}")
    assert (done.returncode, "a number of days from 1 to 36500, or 'never'" in done.stderr) == (1, True)


def test_only_a_project_that_exists_can_be_set(run: Run) -> None:
    assert "There is no project 'nobody'" in run("projects", "set", "nobody", "--response-ttl-days", "3").stderr


def test_keys_and_projects(run: Run, tmp_path: Path) -> None:
    project = run("projects", "create", "acme").stdout.strip()
    assert project.startswith("proj_")
    assert "exists already" in run("projects", "create", "acme").stderr
    assert {p["name"] for p in json.loads(run("projects", "list", "--json").stdout)} == {"default", "acme"}

    made = run("keys", "create", "--project", "acme", "--name", "ci", "--days", "1")
    secret = made.stdout.strip()
    assert secret.startswith("sk-antiphon-")
    assert secret not in made.stderr
    keys = {key["project"]: key for key in json.loads(run("keys", "list", "--json").stdout)}
    assert set(keys) == {"default", "acme"}
    key = keys["acme"]
    assert key["name"] == "ci"
    assert key["valid"] is True
    assert key["expires_at"] == key["created_at"] + 86_400
    everything = run("keys", "list").stdout + run("keys", "list", "--json").stdout
    assert secret not in everything
    assert key["hint"] in everything
    assert json.loads(run("keys", "list", "--project", project, "--json").stdout) == [key]

    assert run("keys", "revoke", key["id"]).returncode == 0
    assert json.loads(run("keys", "list", "--project", "acme", "--json").stdout)[0]["valid"] is False
    assert run("keys", "revoke", "key_none").returncode == 1
    assert "no project 'none'" in run("keys", "create", "--project", "none").stderr


def test_the_first_key_is_forgotten_when_it_is_revoked(run: Run) -> None:
    (first,) = json.loads(run("keys", "list", "--json").stdout)
    assert run("env").returncode == 0
    run("keys", "revoke", first["id"])
    done = run("env")
    assert done.returncode == 1
    assert "antiphon keys create" in done.stderr


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "two\nlines"])
def test_names_that_no_project_may_have(run: Run, name: str) -> None:
    assert "1 to 128 printable characters" in run("projects", "create", name).stderr


# --- models -----------------------------------------------------------------------------------------------------------
def test_models_list_and_rm(run: Run, tmp_path: Path) -> None:
    listed = {model["name"]: model for model in json.loads(run("models", "list", "--json").stdout)}
    assert listed["smollm2-135m"]["state"] == "absent"
    assert [name for name, model in listed.items() if model["default"]] == [catalog.default().name]
    Path(tmp_path / "models").mkdir()
    Path(listed["smollm2-135m"]["path"]).write_bytes(b"anything")
    assert "here, not verified" in run("models", "list").stdout
    assert run("models", "rm", "smollm2-135m").stdout == "smollm2-135m is removed.\n"
    assert run("models", "rm", "smollm2-135m").stdout == "smollm2-135m is not here.\n"
    assert not Path(listed["smollm2-135m"]["path"]).exists()


class Screen:
    """A stream that is, or is not, a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        self.text = ""
        self.terminal = terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""

    def isatty(self) -> bool:
        return self.terminal


def test_progress_on_a_terminal_is_one_line_that_changes() -> None:
    screen = Screen(terminal=True)
    progress = DownloadProgress("model x", screen)  # type: ignore[arg-type]  # all of TextIO that is used
    progress.update(0, 2_000_000)
    progress.update(2_000_000, 2_000_000)
    progress.note("verifying")
    progress.close()
    bar, note = screen.text.rstrip("\n").split("\n")
    assert "2 of 2 MB" in bar.rsplit("\r", maxsplit=1)[-1]
    assert note == "model x: verifying"


def test_progress_in_a_log_is_a_line_for_each_tenth() -> None:
    screen = Screen(terminal=False)
    progress = DownloadProgress("model x", screen)  # type: ignore[arg-type]  # all of TextIO that is used
    for done in range(1001):
        progress.update(done, 1000)
    progress.close()
    assert [line.split()[2] for line in screen.text.splitlines()] == [str(tenth * 10) for tenth in range(11)]
    assert "\r" not in screen.text


def test_progress_in_a_log_is_never_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False)
    progress = DownloadProgress("model x", screen)  # type: ignore[arg-type]  # all of TextIO that is used
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for second in range(0, 60, 2):
        clock[0] = 1000.0 + second
        progress.update(1_000_000 * second, 491_400_064)
    lines = screen.text.splitlines()
    assert len(lines) == 6
    assert lines[1] == "model x: 2 % of 491 MB, 1.0 MB/s, 481 s left"


# --- doctor -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def model_file(tmp_path: Path) -> str:
    path = tmp_path / "own.gguf"
    path.write_bytes(gguf({"general.architecture": "llama"}))
    return str(path)


def states(run: Run, *args: str) -> dict[str, tuple[str, str]]:
    """Each subject's state and text; also that the exit code follows from the states."""
    done = run("doctor", "--json", *args)
    found = json.loads(done.stdout)
    assert done.returncode == (1 if any(line["state"] == "fail" for line in found) else 0)
    return {line["subject"]: (line["state"], f"{line['text']} {line['advice']}") for line in found}


@pytest.fixture
def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_doctor_before_the_first_start(run: Run, tmp_path: Path, free_port: str) -> None:
    found = states(run, "--port", free_port)
    assert found["data dir"][0] == found["database"][0] == found["engine"][0] == found["address"][0] == "ok"
    assert found["model"][0] == "warn"
    assert "antiphon models pull qwen2.5-coder-0.5b" in found["model"][1]
    assert not (tmp_path / "data").exists()


def test_doctor_of_a_good_installation(run: Run, model_file: str, free_port: str) -> None:
    run("keys", "list")  # makes everything
    found = states(run, "--model", model_file, "--port", free_port)
    assert found.pop("shutdowns")[0] in {"ok", "warn"}  # the list it comes with grows old
    assert {state for state, _ in found.values()} == {"ok"}
    assert set(found) == {
        *("python", "data dir", "secret", "first key", "database", "model", "context", "memory", "engine", "address"),
        *("disk", "models disk", "open files"),
    }
    shown = run("doctor", "--model", model_file, "--port", free_port).stdout
    assert len([line for line in shown.splitlines() if not re.search("shutdowns|→", line)]) == len(found)
    assert "\x1b" not in shown


def test_doctor_of_a_broken_installation(run: Run, tmp_path: Path) -> None:
    run("keys", "list")
    data_dir = DataDir(tmp_path / "data", create=False)
    data_dir.default_key_file.chmod(0o644)
    data_dir.database.write_bytes(b"not a database, but long enough to look like one" * 100)
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"wrong")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = states(run, "--model", str(wrong), "--port", str(taken.getsockname()[1]))
    assert found["first key"][0] == "fail"
    assert "chmod 600" in found["first key"][1]
    assert found["database"][0] == "fail"
    assert "backups" in found["database"][1]
    assert found["model"][0] == "fail"
    assert found["address"][0] == "fail"
    assert found["engine"][0] == "ok"


def test_doctor_finds_an_open_directory_and_a_damaged_secret(run: Run, tmp_path: Path, model_file: str) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.secret_file.write_bytes(b"short")
    data_dir.secret_file.chmod(0o600)
    assert states(run, "--model", model_file)["data dir"][0] == "fail"
    data_dir.path.chmod(0o755)
    found = states(run, "--model", model_file)
    assert "chmod 700" in found["data dir"][1]
    assert data_dir.path.stat().st_mode & 0o777 == 0o755  # it only looks


def test_doctor_knows_its_own_server(run: Run, tmp_path: Path, model_file: str) -> None:
    data_dir = DataDir(tmp_path / "data")
    with socket.socket() as taken, data_dir.lock():
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        data_dir.write_server(ServerInfo(1, "127.0.0.1", port))
        state, text = states(run, "--model", model_file, "--port", str(port))["address"]
    assert state == "ok"
    assert "is running there" in text


def test_doctor_finds_a_wrong_model_file(run: Run, tmp_path: Path) -> None:
    path = catalog.find("smollm2-135m").path(tmp_path / "models")
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    files.mark_verified(path, catalog.find("smollm2-135m").sha256)  # the stamp is not believed here
    state, text = states(run, "--model", "smollm2-135m")["model"]
    assert state == "fail"
    assert "SHA-256 differs" in text


def test_memory_is_compared_with_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda: 1000)
    from antiphon.models.resolve import resolve
    from antiphon.settings import Settings

    context, memory = checks._context(resolve("default", Path("/nonexistent")), Settings(context=32_768))
    assert context.state is checks.State.OK
    assert context.text == "32768 tokens for a request, 32768 shared by 2 slots; KV cache 403 MB"
    assert memory.state is checks.State.WARN
    assert "about 1,513 MB needed" in memory.text


def test_few_open_files_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    from antiphon.settings import Settings

    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 4096))
    [finding] = checks._files(Settings())
    assert finding.state is checks.State.WARN
    assert "64" in finding.text
    assert finding.advice is not None
    assert "ulimit -n 1024" in finding.advice
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    [finding] = checks._files(Settings())
    assert finding.state is checks.State.OK


def test_a_context_beyond_what_was_trained_is_told() -> None:
    from antiphon.models.resolve import resolve
    from antiphon.settings import Settings

    context, _ = checks._context(resolve("default", Path("/nonexistent")), Settings(context=100_000))
    assert context.state is checks.State.WARN
    assert context.text.startswith("32768 tokens")
