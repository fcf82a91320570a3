"""The table of languages, without running anything."""

import pytest

from sandboxes.java_names import java_names
from sandboxes.languages import RECIPES, recipe_for
from schemas.languages import LANGUAGE_CODES


def test_every_language_has_one_recipe() -> None:
    """The words of the wire and the knowledge of the sandboxes do not drift apart."""
    assert [recipe.code for recipe in RECIPES] == list(LANGUAGE_CODES)


@pytest.mark.parametrize("code", LANGUAGE_CODES)
def test_no_placeholder_is_left_in_a_step(code: str) -> None:
    """Whatever stands in braces in the table is filled in, wherever it stands."""
    steps = recipe_for(code).steps("", "/program")
    words = [word for command in (*steps.build, steps.run) for word in command] + list(steps.env.values())
    assert [word for word in words if "{" in word or "}" in word] == []


def test_arguments_are_never_taken_for_placeholders() -> None:
    """What a user passes comes after the filling in."""
    assert recipe_for("py").steps("", "/program", ["{program}", "{"]).run[-2:] == ("{program}", "{")


def test_a_program_folder_with_braces_stays_itself() -> None:
    """A value that was filled in is not looked at again."""
    assert recipe_for("c").steps("", "/{main}").run[-1] == "/{main}/main"


def test_build_writes_into_the_program_folder_only() -> None:
    """The working directory belongs to the program."""
    for recipe in RECIPES:
        steps = recipe.steps("", "/program")
        assert all(any("/program" in word for word in command) for command in steps.build), recipe.code


MAIN = "public static void main(String[] args) {}"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("", ("Main.java", "Main")),
        ("void main() {}", ("Main.java", "Main")),
        (f"public class Main {{ {MAIN} }}", ("Main.java", "Main")),
        (f"public class Hello {{ {MAIN} }}", ("Hello.java", "Hello")),
        (f"class Hello {{ {MAIN} }}", ("Main.java", "Hello")),
        (f"public final strictfp class A {{ {MAIN} }}", ("A.java", "A")),
        (f"public non-sealed class A {{ {MAIN} }}", ("A.java", "A")),
        (f"public record R(int x) {{ {MAIN} }}", ("R.java", "R")),
        (f"public interface I {{ {MAIN} }}\nclass B {{}}", ("I.java", "I")),
        (f"public class A {{}}\nclass B {{ {MAIN} }}", ("A.java", "B")),
        (f"class A {{}}\nclass B {{ {MAIN} }}\nclass C {{}}", ("Main.java", "B")),
        (f"public class A {{ record B(int x) {{}} {MAIN} }}", ("A.java", "A")),
        (f"public class A {{ public static class B {{}} {MAIN} }}", ("A.java", "A")),
        (f"package a.b;\npublic class C {{ {MAIN} }}", ("C.java", "a.b.C")),
        (f"// public class X\n/* class Y {{ */ class Z {{ {MAIN} }}", ("Main.java", "Z")),
        (f"class A {{ String s = \"}} class B {{ void main(\"; char c = '}}'; {MAIN} }}", ("Main.java", "A")),
        (f'class A {{ String s = """\n}} public class B {{\n"""; {MAIN} }}', ("Main.java", "A")),
        ('class A { String s = "unfinished', ("Main.java", "Main")),
    ],
)
def test_java_names_follow_the_code(code: str, names: tuple[str, str]) -> None:
    """javac insists on the file's name, java on the class with main."""
    assert java_names(code) == names


def test_java_names_of_a_hostile_source_are_found_in_linear_time() -> None:
    """A pattern that backtracks would hold the whole service up; the suite's time limit would tell."""
    for piece in (
        "public ",
        '"',
        '\\"',
        '"""',
        "/*",
        "'",
        "\\'",
        "\n",
        " ",
        "{ class A ",
        "public a b c ",
        "void ",
        "package a\n",
    ):
        java_names(piece * 100_000)
