"""Write `requirements/*.txt`: every package with its exact version and hashes, for every platform, naming no host."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMON = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--quiet"]
LOCKS = {
    "serve.txt": ["--all-extras", "--group=build"],
    "dev.txt": [
        "--all-extras",
        *[f"--group={group}" for group in ("build", "test", "check", "lock")],
        "--constraint=requirements/serve.txt",
    ],
}


def main() -> None:
    """Compile each lock file; `dev` is constrained by `serve`, so both agree on every shared version."""
    for name, groups in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", *COMMON, *groups, "pyproject.toml"]
        subprocess.run([*command, f"--output-file=requirements/{name}", *sys.argv[1:]], check=True, cwd=ROOT)
        print(f"wrote requirements/{name}")


if __name__ == "__main__":
    main()
