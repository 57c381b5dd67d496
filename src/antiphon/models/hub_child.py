"""The child process of `hub`: one file of a model hub to one place. `python -m antiphon.models.hub_child`.

huggingface_hub knows the address, the user's token and the proxies. Its own `hf_hub_download` begins anew after an
interruption (it gives each download a name of its own); half a gigabyte deserves better, so the bytes are fetched here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from antiphon.domain import limits

_CHUNK = 1024 * 1024


def main(repository: str, path: str, target: str) -> int:
    """Download `path` of `repository` (`owner/name`) to the file `target`; say why not in one line on stderr."""
    from huggingface_hub import hf_hub_url

    try:
        download(hf_hub_url(repository, path), Path(target))
    except Exception as error:  # whatever it is, the parent shows it and tries the next source
        reason = str(error).strip().splitlines()
        sys.stderr.write(f"{reason[0] if reason else type(error).__name__}\n")
        return 1
    return 0


def download(url: str, target: Path) -> None:
    """Fetch `url` to its end, going on after what `target` holds already, also after a broken connection.

    Gives up, with the error that broke it, when an attempt brings nothing, or on an HTTP error.
    """
    from huggingface_hub.errors import HfHubHTTPError

    while True:
        had = _size(target)
        try:
            _append(url, target, had)
        except HfHubHTTPError:
            raise
        except Exception:
            if _size(target) <= had:
                raise
        else:
            return


def _append(url: str, target: Path, had: int) -> None:
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils._headers import build_hf_headers  # its public name is not declared for type checkers

    # Compressed on the way, the bytes could not be counted, nor asked for from the middle.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    timeout = limits.PULL_CONNECT_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if response.status_code == 416:
            return  # nothing is left to fetch; the hash tells whether it is right
        hf_raise_for_status(response)
        with target.open("ab" if response.status_code == 206 else "wb", buffering=0) as file:
            for chunk in response.iter_bytes(_CHUNK):
                file.write(chunk)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
