"""Statements are compiled to the driver's own parameters, once for each kind of database."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, select

from antiphon.stores import completions, responses, tenants
from antiphon.stores.database import driver_for
from antiphon.stores.query import Statement
from antiphon.stores.tables import projects

DIALECTS = {
    "sqlite": driver_for("sqlite:///antiphon.db").dialect,
    "postgresql": driver_for("postgresql://host/name").dialect,
}
QUERIES = [
    pytest.param(query, id=f"{module.__name__.rpartition('.')[2]}.{name}")
    for module in (tenants, responses, completions)
    for name, query in vars(module).items()
    if isinstance(query, Statement)
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("name", DIALECTS)
def test_every_statement_compiles_without_hidden_parameters(query: Statement, name: str) -> None:
    text = query.text(DIALECTS[name])
    assert "param_" not in text
    assert "POSTCOMPILE" not in text
    assert query.text(DIALECTS[name]) is text


def test_a_literal_that_would_become_a_hidden_parameter_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Statement(select(projects.c.id).where(projects.c.name == "one")).text(DIALECTS["sqlite"])


def test_both_databases_get_their_own_style() -> None:
    query = Statement(select(projects.c.id).where(projects.c.name == bindparam("name")))
    assert query.text(DIALECTS["sqlite"]).endswith("projects.name = :name")
    assert "%(name)s" in query.text(DIALECTS["postgresql"])
