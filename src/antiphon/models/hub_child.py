"""The child process of `hub`: one file of a model hub into one directory. `python -m antiphon.models.hub_child`."""

from __future__ import annotations

import sys


def main(repository: str, path: str, target: str) -> int:
    """Download `path` of `repository` (`owner/name`) into `target`; say why not in one line on stderr."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repository, path, local_dir=target)
    except Exception as error:  # whatever it is, the parent shows it and tries the next source
        reason = str(error).strip().splitlines()
        sys.stderr.write(f"{reason[0] if reason else type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
