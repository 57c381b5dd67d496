"""`python -m tests.cases`: run the cases, with pytest's own options (`-k 05` picks some)."""

import sys

import pytest

sys.exit(pytest.main(["tests/cases", *sys.argv[1:]]))
