"""`python -m tests.hostile`: what attacks cost a server, in figures. `keyless` or `bodies` prints only these."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from antiphon.domain.limits import MIB
from hostile import heavy
from support.metered import metered


def main(asked: list[str]) -> None:
    """Print a line for each attack, and the worst of each kind."""
    with tempfile.TemporaryDirectory() as directory, metered(Path(directory)) as server:
        if not asked or "keyless" in asked:
            worst = 0.0
            for name, (start, more) in heavy.KEYLESS.items():
                with heavy.growth(server) as most:
                    sent = heavy.attack(server.url, start, more)
                worst = max(worst, most[0] / MIB)
                print(f"{name:32} sent {sent / MIB:6.1f} MiB, memory {most[0] / MIB:+6.1f} MiB", flush=True)
            print(f"most memory that no key was needed for: {worst:+.1f} MiB\n", flush=True)
        if not asked or "bodies" in asked:
            stalls = []
            for name, status, took, stall in heavy.measured(server, list(heavy.BODIES)):
                stalls.append(stall)
                print(f"{name:32} {status} in {took:6.2f} s, others waited {stall * 1000:6.0f} ms", flush=True)
            print(f"longest that a request made others wait: {max(stalls) * 1000:.0f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
