"""Identifiers of tools, as the front ends make them too."""

import pytest

from schemas.tool_names import identifier_of


@pytest.mark.parametrize(
    ("name", "python", "shell"),
    [
        ("get_weather", "get_weather", "get_weather"),
        ("get-weather now", "get_weather_now", "get_weather_now"),
        ("a.b", "ab", "a_b"),
        ("a\tb\u00a0c", "a_b_c", "a_b_c"),
        ("3d", "_3d", "_3d"),
        ("class", "class_tool", "class"),
        ("None", "None_tool", "None"),
        ("if", "if_tool", "if_tool"),
        ("done", "done", "done_tool"),
        ("local", "local", "local_tool"),
        ("café!", "caf", "caf"),
        ("-", "_", "_"),
        ("!?", "", ""),
        ("\u0661", "", ""),
        ("print", "print", "print"),
    ],
)
def test_a_tool_has_a_name_that_code_can_call(name: str, python: str, shell: str) -> None:
    """Every rule once, in both languages."""
    assert (identifier_of(name, "py"), identifier_of(name, "bash")) == (python, shell)
