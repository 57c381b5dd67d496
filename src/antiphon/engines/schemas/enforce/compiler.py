"""From a schema to the rules of a grammar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from antiphon.engines.schemas.enforce import expressions, numbers
from antiphon.engines.schemas.enforce.choices import KEYWORDS, alternatives, negatable
from antiphon.engines.schemas.enforce.document import Document
from antiphon.engines.schemas.enforce.facts import (
    KINDS,
    SILENT,
    Conjunction,
    Facts,
    Spot,
    is_value,
    kind_of,
    same,
)
from antiphon.engines.schemas.enforce.formats import FORMATS, INTEGERS
from antiphon.engines.schemas.enforce.formats import SILENT as SILENT_FORMATS
from antiphon.engines.schemas.enforce.members import Members
from antiphon.engines.schemas.enforce.patterns import Unsupported
from antiphon.engines.schemas.enforce.rules import ANY, NUMBER, STRING, Alternative, Call, Rules, Text
from antiphon.engines.schemas.enforce.values import fitting

#: Schemas inside of schemas, with those that `$ref`s lead to and that alternatives are made of.
_MAX_DEPTH = 120
#: Values of a list, from here on many.
_MANY_VALUES = 20
_KNOWN = frozenset(
    {
        *("type", "enum", "const", "not", "if", "then", "else", "allOf", "anyOf", "oneOf", "$ref", "$schema", "$id"),
        *("$anchor", "$defs", "definitions", "dependentRequired", "dependentSchemas", "dependencies", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "minLength"),
        *("maxLength", "properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
        *("minProperties", "maxProperties", "unevaluatedProperties", "items", "prefixItems", "additionalItems"),
        *("contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"),
    }
)
#: Keywords of JSON Schema that nothing is made of here.
_OTHERS = frozenset({"$dynamicRef", "$recursiveRef"})


@dataclass(frozen=True)
class Compiled:
    """`grammar`: Lark for the texts that fit. `dropped`: keywords that it does not hold to, and why; `unknown`: formats
    that JSON Schema does not know. Empty `grammar`: no value fits."""

    grammar: str
    dropped: dict[str, str]
    unknown: list[str]


def compile_schema(schema: Any, *, strict: bool, arguments: bool) -> Compiled:
    """Compile a normalised schema that is valid.

    Where it does not say whether an object may have more properties than it declares, none are drawn, unless it is
    strict. `arguments`: it is a function's, which takes none if none are declared.
    """
    document = Document(schema)
    dropped: dict[str, str] = {}
    waiting = [frozenset[str](), frozenset(KEYWORDS)]
    while waiting:
        left_out = waiting.pop(0)
        compiler = Compiler(document, left_out=left_out, strict=strict, arguments=arguments)
        try:
            made = compiler.compiled(dropped)
        except Unsupported as problem:
            dropped[", ".join(sorted(left_out)) or "the schema"] = str(problem)
            continue
        if made.grammar or not compiler.narrowed:
            return made
        # Not all ways that there are were tried: there may be values that fit.
        waiting.insert(0, left_out | compiler.narrowed)
    kind = {"type": schema["type"]} if isinstance(schema, dict) and "type" in schema else True
    loose = Compiler(Document(kind), left_out=frozenset(), strict=strict, arguments=False)
    return loose.compiled(dropped)


class Compiler:
    """Makes the rules of one schema."""

    def __init__(self, document: Document, *, left_out: frozenset[str], strict: bool, arguments: bool) -> None:
        self.document = document
        self.rules = Rules()
        self.dropped: dict[str, str] = {}
        self.unknown: list[str] = []
        #: Keywords of whose alternatives not all could be made.
        self.narrowed: frozenset[str] = frozenset()
        self.left_out = left_out
        self.strict = strict
        self.arguments = arguments
        self.root: Conjunction = (Spot(document.root, document.base),)
        self._made: dict[frozenset[Any], str] = {}
        #: Keeps alive what is told apart by its identity.
        self._kept: list[Any] = []
        self._depth = 0
        self._members = Members(self)

    def compiled(self, dropped: dict[str, str]) -> Compiled:
        """The grammar of the whole schema; `dropped`: what is known to be missing already."""
        root = self.value(self.root)
        fits = self.rules.productive(root)
        return Compiled(self.rules.lark(root) if fits else "", {**dropped, **self.dropped}, self.unknown)

    def drop(self, keyword: str, why: str | Unsupported) -> None:
        """Note that a keyword is not held to."""
        self.dropped.setdefault(keyword, str(why))

    # --- conjunctions -------------------------------------------------------------------------------------------------
    def spot(self, schema: Any, base: str) -> Spot:
        """A place in the schema, or a schema that was made here."""
        self._kept.append(schema)
        return Spot(schema, base)

    def facts(self, spot: Spot) -> Facts:
        """What one schema says, its choices apart."""
        self._kept.append(spot.schema)
        return self.facts_of((spot,))

    def facts_of(self, conjunction: Conjunction) -> Facts:
        """What several schemas say together, their choices apart."""
        facts = Facts()
        seen: set[Any] = set()
        for spot in conjunction:
            self._gather(spot, facts, seen, frozenset())
        return facts

    def _gather(self, spot: Spot, facts: Facts, seen: set[Any], above: frozenset[Any]) -> None:
        if spot.schema is False:
            facts.never = True
        if spot.schema in (True, False):
            return
        if spot.key in above:
            facts.never = True  # it refers to itself, and says nothing
            return
        if spot.key in seen:
            return
        seen.add(spot.key)
        inside = above | {spot.key}
        base = self.document.inside(spot.schema, spot.base)
        here = Spot(spot.schema, base, spot.done)
        for keyword in sorted(_OTHERS & spot.schema.keys()):
            self.drop(keyword, "it is not supported")
        if isinstance(reference := here.get("$ref"), str) and "$ref" not in self.left_out:
            here = here.without("$ref")
            if self.document.old:
                here = here.without(*spot.schema)
            facts.add(here, old=self.document.old)
            found, its_base = self.document.find(reference, base)
            self._gather(Spot(found, its_base), facts, seen, inside)
        else:
            facts.add(here, old=self.document.old)
        if (parts := here.get("allOf")) is not None and "allOf" not in self.left_out:
            for part in parts:
                self._gather(Spot(part, base), facts, seen, inside)

    # --- values -------------------------------------------------------------------------------------------------------
    def value(self, conjunction: Conjunction) -> str:
        """The rule for a value that fits all of these."""
        key = frozenset(spot.key for spot in conjunction)
        known = self._made.get(key)
        if known is not None:
            return known
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unsupported("it nests too deeply")
        facts = self.facts_of(conjunction)
        if not facts.never and all(not isinstance(s.schema, dict) or not s.schema.keys() - SILENT for s in conjunction):
            self._depth -= 1
            self._made[key] = ANY
            return ANY
        name = self._made[key] = self.rules.new()
        if not facts.never:
            chosen = self._chosen(facts)
            self.rules.rules[name] = self._kinds(facts) if chosen is None else chosen
        self._depth -= 1
        return name

    def _chosen(self, facts: Facts) -> list[Alternative] | None:
        """The alternatives of the first keyword that says "one of these"; None if there is none (left)."""
        for index, spot in enumerate(facts.spots):
            for keyword in KEYWORDS:
                if spot.get(keyword) is None or (keyword == "not" and is_value(spot.get("not"))):
                    continue
                found = None if keyword in self.left_out else alternatives(spot, keyword, self.facts)
                if keyword in {"not", "if"} and not negatable(spot.get(keyword)):
                    self.narrowed |= {keyword}
                if found is None:
                    self.drop(keyword, "this form of it is not supported")
                done = ("if", "then", "else") if keyword == "if" else (keyword,)
                rest = [
                    each.without("$ref", "allOf", *(done if i == index else ())) for i, each in enumerate(facts.spots)
                ]
                return [
                    (Call(self.value((*rest, *(self.spot(schema, spot.base) for schema in option)))),)
                    for option in ([()] if found is None else found)
                ]
        return None

    def _kinds(self, facts: Facts) -> list[Alternative]:
        if facts.values is not None:
            return self._listed(fitting(facts, self.document.root, self.drop))
        made: list[Alternative] = []
        numeric = facts.kinds & {"integer", "broken"}
        for kind in KINDS:
            if kind not in facts.kinds:
                continue
            match kind:
                case "null" | "boolean":
                    texts = ["null"] if kind == "null" else ["true", "false"]
                    banned = {same(value) for value in facts.excluded}
                    made += [(Text(text),) for text in texts if text not in banned]
                case "string":
                    made += self.string(facts)
                case "array":
                    made += self._members.array(facts)
                case "object":
                    made += self._members.object(facts)
                case _ if kind == min(numeric):
                    made += self._number(facts, numeric)
        return made

    def _listed(self, values: Sequence[Any]) -> list[Alternative]:
        """These values; many of them are one terminal, which costs a tenth of as many."""
        if len(values) < _MANY_VALUES:
            return [(Text(_spelled(value)),) for value in values]
        return [(self.rules.terminal(" | ".join(json.dumps(_spelled(value)) for value in values)),)]

    # --- strings and numbers ------------------------------------------------------------------------------------------
    def string(self, facts: Facts, *, besides: Sequence[str] = ()) -> list[Alternative]:
        """A string; `besides`: expressions that it must match too."""
        expression = self._inside(facts, besides)
        return [(self.rules.terminal(STRING if expression == expressions.ANYTHING else f'"\\"" {expression} "\\""'),)]

    def _inside(self, facts: Facts, besides: Sequence[str]) -> str:
        parts: list[str] = []
        least, most = facts.length
        if least or most is not None:
            if most is not None and most < least:
                return f"({expressions.ANYTHING} & ~{expressions.ANYTHING})"
            parts.append(expressions.lengths(least, most))
        for keyword, texts in (("pattern", facts.patterns), ("pattern", facts.not_patterns)):
            for text in texts:
                try:
                    made = expressions.pattern(text, wide=texts is facts.not_patterns)
                except Unsupported as problem:
                    self.drop(keyword, f"'{text[:80]}': {problem}")
                else:
                    parts.append(f"~({made})" if texts is facts.not_patterns else made)
        parts += [f"~({expressions.literal(value)})" for value in facts.excluded if isinstance(value, str)]
        return expressions.both(*parts, *self._formats(facts, parts), *besides)

    def _formats(self, facts: Facts, parts: Sequence[str]) -> list[str]:
        made: list[str] = []
        for name in facts.formats:
            if name in FORMATS:
                narrower = expressions.both(*parts, *made, f"/(?:{FORMATS[name]})/")
                if self.rules.matches(self.rules.terminal(narrower)):
                    made.append(f"/(?:{FORMATS[name]})/")
                else:
                    self.drop("format", f"'{name}' cannot be enforced together with the other keywords beside it")
            elif name not in SILENT_FORMATS and name not in INTEGERS and name not in self.unknown:
                self.unknown.append(name)
        return made

    def _number(self, facts: Facts, kinds: set[str]) -> list[Alternative]:
        wanted = facts.range.meet(numbers.Range(whole="integer" in kinds, broken="broken" in kinds))
        for name in facts.formats if kinds == {"integer"} else ():
            if name in INTEGERS:
                low, high = INTEGERS[name]
                wanted = wanted.meet(numbers.Range(low=Fraction(low), high=Fraction(high)))
        if wanted.empty:
            return []
        banned = [numbers.exactly(value) for value in facts.excluded if kind_of(value) in kinds]
        try:
            if banned:
                expression = expressions.without(numbers.expression(wanted, plain=True), *banned)
            else:
                expression = NUMBER if wanted.free else numbers.expression(wanted)
        except Unsupported as problem:
            return self._by_the_engine(wanted, problem)
        return [(self.rules.terminal(expression),)]

    def _by_the_engine(self, wanted: numbers.Range, problem: Unsupported) -> list[Alternative]:
        """A multiple that is no regular expression of a bearable size: the engine has a machine for these."""
        schema = numbers.for_the_engine(wanted)
        if schema is None:
            self.drop("multipleOf" if wanted.steps else "minimum", problem)
            loose = numbers.Range(whole=wanted.whole, broken=wanted.broken)
            return [(self.rules.terminal(numbers.expression(loose)),)]
        name = f"n{len(self.rules.raw)}"
        self.rules.raw[name] = f"%json {json.dumps(schema)}"
        return [(Call(name),)]


def _spelled(value: Any) -> str:
    """A value as JSON, on one line; characters of strings as `charsets` spells them."""
    return json.dumps(value, ensure_ascii=False)
