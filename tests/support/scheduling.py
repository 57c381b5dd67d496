"""In which order the files of tests are begun: what takes longest first.

Tests of a file share its servers, so a file belongs to one test process. Begun longest first, files of all sizes fill
the processes evenly to the end; in pytest-xdist's own order (most tests first) a few long ones of few tests come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
#: Seconds of the files that take longest, roughly, by their paths below `tests`. A wrong one costs time only.
LONGEST: Mapping[str, float] = {
    "docs/test_commands.py": 110,
    "setup/test_prepare.py": 50,
    "e2e/test_python_tools.py": 45,
    "e2e/test_faulty_upstreams.py": 40,
    "hostile/test_heavy.py": 40,
    "contract/test_engine_llama_tools.py": 34,
    "e2e/test_python_context.py": 33,
    "cases/test_cases.py": 30,
    "e2e/test_lying_upstreams.py": 30,
    "conformance/test_answers.py": 27,
    "simulation/test_background.py": 25,
    "e2e/test_crashes.py": 25,
    "e2e/test_serve.py": 25,
    "e2e/test_standing_still.py": 25,
    "e2e/test_two_servers.py": 25,
    "hostile/test_mutations.py": 20,
    "e2e/test_node_sdk.py": 20,
    "contract/test_engine_llama_continuing.py": 20,
    "contract/test_engine_llama_long.py": 25,
    "contract/test_store_durability.py": 20,
    "e2e/test_ledger_of_faults.py": 20,
    "chaos/test_kill.py": 20,
    "e2e/test_money_attacks.py": 18,
    "e2e/test_gateway_seams.py": 15,
    "contract/test_engine_llama.py": 15,
    "e2e/test_background_waits.py": 13,
    "e2e/test_python_sdk.py": 12,
    "contract/test_engine_llama_faults.py": 11,
    "contract/test_engine_llama_grammars.py": 15,
    "contract/test_engine_chat.py": 10,
    "e2e/test_agents_sdk.py": 10,
    "e2e/test_background_stops.py": 9,
    "contract/test_store_making.py": 9,
    "e2e/test_store_trouble.py": 9,
    "e2e/test_gateway_secrets.py": 9,
    "e2e/test_gateway_bench.py": 9,
    "unit/models/test_pull.py": 9,
    "unit/engines/llama/test_schemas.py": 9,
    "unit/engines/test_schemas_variety.py": 9,
    "unit/cli/test_outside.py": 7,
    "e2e/test_schemas.py": 7,
    "unit/engines/test_schema_turns.py": 6,
    "unit/models/test_hub.py": 5,
}
#: Seconds of a test in any other file, on average.
_ORDINARY = 0.05


def longest_first(items: list[pytest.Item]) -> None:
    """Put the files in order; the order of the tests within each stays."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: -_seconds(item.path, tests[item.path]))


def _seconds(file: Path, tests: int) -> float:
    """What a file of that many tests takes."""
    name = file.relative_to(_TESTS).as_posix() if file.is_relative_to(_TESTS) else ""
    return LONGEST.get(name, tests * _ORDINARY)
