"""Run every benchmark, one after the other, or those that are named. `chaos` and `gateway` run only by name."""

from __future__ import annotations

import subprocess
import sys

ALL = ("startup", "store_speed", "api", "durable", "local_engine")


def main() -> int:
    """Run what was named, or all; the exit status is 1 if one missed a target."""
    names = sys.argv[1:] or ALL
    missed = [name for name in names if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode]
    if missed:
        print(f"missed a target: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
