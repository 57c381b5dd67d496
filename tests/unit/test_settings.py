"""Settings: precedence, where each came from, and clear refusals."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from antiphon.domain.errors import SetupError
from antiphon.settings import Loaded, Settings, load
from antiphon.settings.declared import declared
from antiphon.settings.machine import physical_cores
from antiphon.settings.parsers import mask_url


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    directory = tmp_path / "cwd"
    directory.mkdir()
    return directory


def loaded(cwd: Path, flags: dict[str, object] | None = None, **environ: str) -> Loaded:
    environ = {"ANTIPHON_DATA_DIR": str(cwd.parent / "data"), **environ}
    return load(flags or {}, environ, cwd)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_defaults(cwd: Path) -> None:
    result = loaded(cwd)
    settings = result.settings
    assert (settings.host, settings.port, settings.model, settings.slots) == ("127.0.0.1", 8000, "default", 2)
    assert settings.context is None
    assert settings.aliases == {"gpt-5-mini": "default", "gpt-5-nano": "default", "gpt-4o-mini": "default"}
    assert settings.cors_origins == ()
    assert settings.threads == physical_cores() >= 1
    assert settings.database == f"sqlite:///{cwd.parent / 'data' / 'antiphon.db'}"
    assert result.config_file is None
    assert set(result.sources) == {field.name for field in fields(Settings)}
    assert {name for name, source in result.sources.items() if source != "default"} == {"data_dir"}


def test_flag_beats_variable_beats_file_beats_default(cwd: Path) -> None:
    file = write(cwd / "antiphon.toml", "port = 1\nslots = 1\nhost = 'file'\n")
    result = loaded(cwd, {"port": "3", "host": None}, ANTIPHON_PORT="2", ANTIPHON_SLOTS="2")
    assert (result.settings.port, result.settings.slots, result.settings.host) == (3, 2, "file")
    assert result.sources["port"] == "flag --port"
    assert result.sources["slots"] == "variable ANTIPHON_SLOTS"
    assert result.sources["host"] == str(file)
    assert result.sources["model"] == "default"


def test_the_file_is_looked_for_in_order(cwd: Path, tmp_path: Path) -> None:
    in_data = write(tmp_path / "data" / "antiphon.toml", "port = 1")
    assert loaded(cwd).config_file == in_data
    in_cwd = write(cwd / "antiphon.toml", "port = 2")
    assert loaded(cwd).config_file == in_cwd
    by_variable = write(tmp_path / "variable.toml", "port = 3")
    assert loaded(cwd, ANTIPHON_CONFIG=str(by_variable)).settings.port == 3
    by_flag = write(tmp_path / "flag.toml", "port = 4")
    result = loaded(cwd, {"config": str(by_flag)}, ANTIPHON_CONFIG=str(by_variable))
    assert (result.settings.port, result.config_file) == (4, by_flag)


def test_a_named_file_must_be_there(cwd: Path) -> None:
    with pytest.raises(SetupError, match="no configuration file"):
        loaded(cwd, {"config": "none.toml"})


def test_a_data_directory_cannot_point_elsewhere(cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.settings.loading.user_data_dir", lambda: tmp_path / "data")
    write(tmp_path / "data" / "antiphon.toml", "data_dir = '/elsewhere'")
    with pytest.raises(SetupError, match="data_dir cannot be set in"):
        load({}, {}, cwd)


def test_typed_values_of_a_file(cwd: Path) -> None:
    write(
        cwd / "antiphon.toml",
        """
        context = 8192
        pin = [0, 1]
        drain_timeout = 3
        cors_origins = ["https://a.example", "https://b.example"]
        [aliases]
        fast = "smollm2-135m"
        """,
    )
    settings = loaded(cwd).settings
    assert (settings.context, settings.pin, settings.drain_timeout) == (8192, (0, 1), 3.0)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.aliases == {"fast": "smollm2-135m"}


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("aliases", "a=b, c = d", {"a": "b", "c": "d"}),
        ("aliases", "", {}),
        ("pin", "3,0-2", (0, 1, 2, 3)),
        ("pin", "", ()),
        ("cors_origins", "https://a, https://b", ("https://a", "https://b")),
        ("trusted_proxies", "10.1.2.3/8, ::1", ("10.0.0.0/8", "::1/128")),
        ("drain_timeout", "0.5", 0.5),
        ("data_dir", "~/x", Path.home() / "x"),
        ("engine_start", "lazy", "lazy"),
        ("port", "0", 0),
    ],
)
def test_text_values(cwd: Path, name: str, raw: str, value: object) -> None:
    assert getattr(loaded(cwd, {name: raw}).settings, name) == value


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "8000x"),
        ("port", "9" * 30),
        ("slots", "0"),
        ("context", "10"),
        ("drain_timeout", "nan"),
        ("drain_timeout", "soon"),
        ("engine_start", "later"),
        ("log_format", "xml"),
        ("pin", "1-0"),
        ("pin", "a"),
        ("aliases", "a"),
        ("aliases", "=b"),
        ("database", "mysql://host/db"),
        ("host", " "),
    ],
)
def test_a_value_that_does_not_fit_names_its_source(cwd: Path, name: str, raw: str) -> None:
    item = declared()[name]
    with pytest.raises(SetupError, match=f"^{name} must be .*; flag {item.flag} says"):
        loaded(cwd, {name: raw})
    with pytest.raises(SetupError, match=f"^{name} must be .*; variable {item.variable} says"):
        loaded(cwd, None, **{item.variable: raw})


@pytest.mark.parametrize(
    "line",
    [
        "port = '1x'",
        "port = true",
        "port = 1.5",
        "cors_origins = [1]",
        "trusted_proxies = ['x']",
        "aliases = 3",
        "pin = [-1]",
        "model = 1",
    ],
)
def test_a_wrong_type_in_the_file_names_the_file(cwd: Path, line: str) -> None:
    file = write(cwd / "antiphon.toml", line)
    with pytest.raises(SetupError) as raised:
        loaded(cwd)
    assert f"{line.split(maxsplit=1)[0]} must be" in raised.value.message
    assert f"; {file} says" in raised.value.message


def test_unknown_names_suggest_the_nearest(cwd: Path) -> None:
    with pytest.raises(SetupError, match=r"Unknown variable 'ANTIPHON_PROT'\. Did you mean 'ANTIPHON_PORT'"):
        loaded(cwd, None, ANTIPHON_PROT="1")
    with pytest.raises(SetupError, match="Did you mean 'ANTIPHON_CONFIG'"):
        loaded(cwd, None, ANTIPHON_CONFG="x")
    with pytest.raises(SetupError, match="'antiphon config' lists them all"):
        loaded(cwd, None, ANTIPHON_QQQQQQQQ="x")
    write(cwd / "antiphon.toml", "data-dir = '/x'")
    with pytest.raises(SetupError, match=r"Unknown setting in .*antiphon.toml: 'data-dir'. Did you mean 'data_dir'"):
        loaded(cwd)


def test_a_file_that_is_not_toml(cwd: Path) -> None:
    write(cwd / "antiphon.toml", "port = = 1")
    with pytest.raises(SetupError, match="not valid TOML"):
        loaded(cwd)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:p%40ss@host:5432/db", "postgresql://user:***@host:5432/db"),
        (
            "postgresql://user@host/db?password=x&sslmode=require",
            "postgresql://user@host/db?password=***&sslmode=require",
        ),
        ("postgresql:///db?user=a&PASSWORD=x", "postgresql:///db?user=a&PASSWORD=***"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:////data/antiphon.db", "sqlite:////data/antiphon.db"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert declared()["database"].show(url) == shown


def test_a_refused_database_url_does_not_show_its_password(cwd: Path) -> None:
    with pytest.raises(SetupError) as raised:
        loaded(cwd, {"database": "mysql://user:secret@host/db"})
    assert "secret" not in raised.value.message


def test_names_of_flags_and_variables() -> None:
    item = declared()["cache_ram_mib"]
    assert (item.flag, item.variable) == ("--cache-ram-mib", "ANTIPHON_CACHE_RAM_MIB")


def test_the_guide_describes_every_setting() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "settings.md").read_text("utf-8")
    for item in declared().values():
        assert f"| `{item.name}` | {item.spec.help} | {item.default_text} |" in guide


@pytest.mark.parametrize("where", ["s3://", "s3://a", "s3://bucket/../x", "s3://user:pw@bucket/x", "gs://bucket", ""])
def test_places_of_blobs_that_are_none(cwd: Path, where: str) -> None:
    with pytest.raises(SetupError, match="blobs"):
        loaded(cwd, {"blobs": where})


def test_the_secret_of_s3_is_not_shown(cwd: Path) -> None:
    found = loaded(cwd, {"blobs": "s3://bucket/some/prefix", "s3_key": "do-not-show"})
    assert found.settings.s3_key == "do-not-show"
    assert declared()["s3_key"].show("do-not-show") == "***"
    assert declared()["s3_key"].show("") == ""
    with pytest.raises(SetupError) as raised:
        loaded(cwd, {"s3_endpoint": "https://user:do-not-show@host"})
    assert "do-not-show" not in raised.value.message
