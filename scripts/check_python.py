"""Say clearly what is missing before `make` builds a virtual environment (runs on any Python 3)."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "antiphon needs Python 3.11 or newer; this is %d.%d (%s). "
        "Name another one with: make PYTHON=/path/to/python3.12 serve" % (*sys.version_info[:2], sys.executable)
    )
try:
    import ensurepip  # noqa: F401  (only its presence matters)
    import venv  # noqa: F401
except ImportError:
    sys.exit("antiphon needs Python's venv module; on Debian and Ubuntu: apt-get install python3-venv")
