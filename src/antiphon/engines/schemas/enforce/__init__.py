"""From a JSON Schema to a grammar that lets only JSON through that fits it.

`compile_schema` is the one way in. It runs in the process that compiles (`engines.schemas.child`), since schemas come
from clients and may be made to be slow.

What it makes is sound and not complete: whatever the grammar allows fits the schema, and where several spellings of a
value are possible it may allow only one of them. Keywords that it cannot turn into a grammar are left out and named.
"""

from antiphon.engines.schemas.enforce.compiler import Compiled, compile_schema
from antiphon.engines.schemas.enforce.document import normalised

__all__ = ["Compiled", "compile_schema", "normalised"]
