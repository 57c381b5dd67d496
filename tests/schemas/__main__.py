"""`python -m tests.schemas [MODEL] [EVERY]`: have the built-in model answer to every (every so many) schema of the
collection, in all modes, over both APIs, and print what came of it. Exits with 1 if a promise was broken.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the tests' own modules are found

from schemas.asked import MODES, ask_all
from schemas.variety import schemas
from support.real import SMALL, launch


def main(model: str = SMALL, every: str = "1") -> int:
    """Ask, and print."""
    questions = [
        (name, schema, mode, api)
        for name, schema in list(schemas().items())[:: int(every)]
        for mode in MODES
        for api in ("responses", "chat")
    ]
    with tempfile.TemporaryDirectory() as folder, launch(Path(folder), "--model", model) as server:
        tally = ask_all(server.base_url, server.key, questions)
    print(f"{len(questions)} questions: {tally.line()}")
    print("\n".join(tally.wrong))
    return bool(tally.wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
