"""The API over a scripted engine: stored sync responses and streams of 50 deltas a second, on one core.

Every response is durable before it is sent. The reference is a bare ASGI server in the same run.
"""

from __future__ import annotations

import json
import sys

from bench import load, servers

SECONDS = 6.0
CONNECTIONS = 32
CASES = {
    "sync": (b'{"model":"gpt-5-mini","input":"hello","max_output_tokens":16}', 1000.0),
    "stream": (b'{"model":"gpt-5-mini","input":"hello","stream":true}', 400.0),
}


def main() -> int:
    """Print a table; the exit status is 1 if a target is missed."""
    results: dict[tuple[str, str], load.Result] = {}
    for kind in ("bare", "ours"):
        with servers.process(kind, core=0) as (port, key, _):
            for case, (body, _target) in CASES.items():
                message = load.request("/v1/responses", key, body)
                load.run(port, message, connections=CONNECTIONS, seconds=1.0, core=1)
                results[kind, case] = load.run(port, message, connections=CONNECTIONS, seconds=SECONDS, core=1)
    missed = False
    print(f"{'case':8} {'ours/s':>9} {'bare/s':>9} {'ratio':>6} {'target/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for case, (_, target) in CASES.items():
        mine, reference = results["ours", case], results["bare", case]
        missed |= mine.rate < target
        print(
            f"{case:8} {mine.rate:9.0f} {reference.rate:9.0f} {mine.rate / reference.rate:6.2f} {target:9.0f} "
            f"{mine.p50:8.1f} {mine.p99:8.1f}"
        )
    print(json.dumps({f"{kind}_{case}": round(result.rate) for (kind, case), result in results.items()}))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
