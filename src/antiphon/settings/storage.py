"""Settings of what is kept: the data directory, the database and the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from antiphon.settings import parsers
from antiphon.settings.spec import Spec


def user_data_dir() -> Path:
    """The platform's directory for this user's data, such as `~/.local/share/antiphon`."""
    import platformdirs  # here, because most commands are told their directory or do not need it

    return platformdirs.user_data_path("antiphon", appauthor=False)


def own_database(data_dir: Path) -> Path:
    """The SQLite file of a data directory. A running server has the directory, and so this file, to itself."""
    return data_dir / "antiphon.db"


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where everything is kept that lasts."""

    data_dir: Annotated[
        Path,
        Spec(parsers.path, "Directory of the database, keys and backups", "the platform's user data directory"),
    ] = field(default_factory=user_data_dir)
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
    s3_key_id: Annotated[
        str, Spec(parsers.text, "Access key of S3", "what the environment says (AWS_ACCESS_KEY_ID, or a role)")
    ] = ""
    s3_key: Annotated[
        str,
        Spec(
            parsers.text,
            "Secret key of S3; best said in the variable, since flags are seen by others on the machine",
            "what the environment says (AWS_SECRET_ACCESS_KEY, or a role)",
            parsers.mask_secret,
        ),
    ] = ""

    def shares_database(self) -> bool:
        """Whether other servers may use the database: then each looks for what the others have written."""
        if self.database_use != "auto":
            return self.database_use == "shared"
        scheme, _, name = self.database.partition("sqlite:///")
        return bool(scheme) or not name or Path(name).resolve() != own_database(self.data_dir).resolve()
