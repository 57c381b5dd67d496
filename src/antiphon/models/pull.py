"""Bring a model's file here, whole and verified, or say exactly what to do instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from antiphon.domain import limits
from antiphon.domain.errors import SetupError
from antiphon.domain.sizes import megabytes
from antiphon.models import archives, files, hub
from antiphon.models.archives import wrong_hash
from antiphon.models.catalog import ArchiveSource, Model, Source
from antiphon.models.child import SourceFailed
from antiphon.models.progress import Progress, Silent

State = Literal["ready", "unverified", "partial", "absent"]


def ensure(model: Model, models_dir: Path, *, progress: Progress | None = None) -> Path:
    """The path of the model's verified file; it is downloaded first if it is not here.

    A file that is here is hashed once, and then only when its size or time changes. Of two pulls at once the second
    waits and finds the file. An interrupted pull goes on where it was. Raises `SetupError`, which says what to run.
    """
    progress = progress or Silent()
    path = model.path(models_dir)
    if files.is_verified(path, model.sha256):
        return path
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with files.locked(path, progress):
            if not (files.is_verified(path, model.sha256) or _verify_present(model, path, progress)):
                _download(model, path, progress)
    except OSError as error:
        reason = "it is not a directory" if isinstance(error, FileExistsError) else error.strerror or error
        raise SetupError(f"The model {model.name} cannot be put into {models_dir}: {reason}.") from error
    return path


def state(model: Model, models_dir: Path) -> State:
    """Whether the model's file is "ready" (verified), here but "unverified", "partial"ly fetched, or "absent".

    Raises `SetupError` if that cannot be seen.
    """
    path = model.path(models_dir)
    if files.is_verified(path, model.sha256):
        return "ready"
    try:
        if path.exists():
            return "unverified"
        return "partial" if files.work_path(path).exists() or files.part_path(path).exists() else "absent"
    except OSError as error:
        raise SetupError(f"The models directory {models_dir} cannot be read: {error.strerror or error}.") from error


def remove(model: Model, models_dir: Path) -> bool:
    """Remove the model's file and everything fetched for it; False if there was nothing. Raises `SetupError`."""
    path = model.path(models_dir)
    if state(model, models_dir) == "absent":
        return False
    try:
        with files.locked(path, Silent()):
            for file in (path, files.stamp_path(path), files.part_path(path)):
                file.unlink(missing_ok=True)
            shutil.rmtree(files.work_path(path), ignore_errors=True)
    except OSError as error:
        raise SetupError(f"The model {model.name} cannot be removed: {error.strerror or error}.") from error
    return True


def _verify_present(model: Model, path: Path, progress: Progress) -> bool:
    """Hash a file that is here without a stamp (placed by hand, or changed); remove it if it is not the right one."""
    if not path.exists():
        return False
    progress.note(f"verifying {path.name}")
    got = files.sha256_of(path)
    if got == model.sha256:
        files.mark_verified(path, model.sha256)
        return True
    path.unlink()
    files.stamp_path(path).unlink(missing_ok=True)
    progress.note(wrong_hash(path.name, model.sha256, got))
    return False


def _download(model: Model, path: Path, progress: Progress) -> None:
    """Try the sources in the catalog's order; put the first right file in place."""
    work, part = files.work_path(path), files.part_path(path)
    failures = []
    for source in model.sources:
        try:
            _check_space(model, source, work, path.parent)
            work.mkdir(parents=True, exist_ok=True)
            _fetch(source, model, work, part, progress)
            _check_hash(model, part, work, progress)
        except SourceFailed as failure:
            failures.append(f"{_label(source)}: {failure}")
            progress.note(failures[-1])
        else:
            files.place(part, path)
            files.mark_verified(path, model.sha256)
            shutil.rmtree(work, ignore_errors=True)
            return
    raise SetupError(_advice(model, path, failures))


def _fetch(source: Source, model: Model, work: Path, part: Path, progress: Progress) -> None:
    """The one place that knows which module serves which kind of source."""
    if isinstance(source, ArchiveSource):
        archives.fetch(source, model, work, part, progress)
    else:
        hub.fetch(source, model, work, part, progress)


def _label(source: Source) -> str:
    return "package registry" if isinstance(source, ArchiveSource) else f"model hub ({source.file})"


def _check_space(model: Model, source: Source, work: Path, models_dir: Path) -> None:
    """Refuse before a byte is fetched what cannot end well."""
    if isinstance(source, ArchiveSource):
        needed = archives.missing_bytes(source, work) + model.bytes  # the archives, and the file joined from them
    else:
        needed = hub.missing_bytes(model, work)
    free = shutil.disk_usage(models_dir).free
    if free < needed + limits.PULL_SPARE_DISK:
        raise SourceFailed(
            f"{models_dir} has {megabytes(free)} free, and {megabytes(needed + limits.PULL_SPARE_DISK)} "
            "are needed; free some, or set ANTIPHON_MODELS_DIR to a directory on another disk"
        )


def _check_hash(model: Model, part: Path, work: Path, progress: Progress) -> None:
    """The hash decides, wherever the file came from. A wrong file leaves nothing behind to be resumed."""
    progress.note(f"verifying {model.file}")
    got = files.sha256_of(part)
    if got != model.sha256:
        part.unlink()
        shutil.rmtree(work, ignore_errors=True)
        raise SourceFailed(wrong_hash(model.file, model.sha256, got))


def _advice(model: Model, path: Path, failures: list[str]) -> str:
    reasons = "".join(f"\n  - {failure}" for failure in failures)
    return (
        f"The model {model.name} is not here and could not be downloaded:{reasons}\n"
        f"With a network, run:  antiphon models pull {model.name}\n"
        f"Without one, put the file ({model.bytes} bytes, SHA-256 {model.sha256}) at\n  {path}\n"
        "or use a model file of your own:  antiphon serve --model /path/to/file.gguf"
    )
