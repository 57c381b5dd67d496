"""Refusals of engines name the parameter that the client of each surface knows."""

from __future__ import annotations

import pytest

from antiphon.domain.errors import ContextLengthExceeded, InvalidRequest, NotFound
from antiphon.protocol.client_params import CHAT, CHAT_FUNCTIONS, RESPONSES, ParamTable, with_client_param

PLACES = RESPONSES.at(["tools[0]", "tools[1].tools[0]"])


@pytest.mark.parametrize(
    ("table", "param", "expected"),
    [
        (CHAT, "output.schema", "response_format"),
        (CHAT, "tools[3].parameters", "tools[3].function.parameters"),
        (CHAT, "tools[3].grammar", "tools[3].custom.format.grammar.definition"),
        (CHAT, "temperature", "temperature"),
        (CHAT, "tools[x].parameters", "tools[x].parameters"),
        (CHAT, "tools[99999999999999999999].parameters", "tools[99999999999999999999].parameters"),
        (CHAT_FUNCTIONS, "tools[3].parameters", "functions[3].parameters"),
        (CHAT_FUNCTIONS, "tools[3].grammar", "functions[3].parameters"),
        (PLACES, "output.schema", "text.format.schema"),
        (PLACES, "tools[1].parameters", "tools[1].tools[0].parameters"),
        (PLACES, "tools[0].grammar", "tools[0].format.definition"),
        (PLACES, "tools[7].grammar", "tools[7].format.definition"),
        (PLACES, "conversation_id", "conversation"),
    ],
)
def test_a_parameter_is_named_as_its_surface_names_it(table: ParamTable, param: str, expected: str) -> None:
    error = InvalidRequest("It is wrong.", code="invalid_value", param=param)
    renamed = with_client_param(error, table)
    assert (renamed.param, renamed.message, renamed.code) == (expected, "It is wrong.", "invalid_value")
    assert error.param == param


def test_what_names_no_parameter_is_named_by_its_code() -> None:
    assert with_client_param(ContextLengthExceeded("Too long."), CHAT).param == "messages"
    assert with_client_param(ContextLengthExceeded("Too long."), RESPONSES).param == "input"
    assert with_client_param(InvalidRequest("No tool.", code="no_callable_tool"), CHAT).param == "tool_choice"
    assert with_client_param(InvalidRequest("Wrong."), CHAT).param is None


def test_the_kind_of_an_error_stays() -> None:
    assert isinstance(with_client_param(NotFound("No such one.", param="conversation_id"), RESPONSES), NotFound)
