"""The languages by their wire names. How each one is built and run is the sandboxes' knowledge."""

import msgspec


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """One language: the code on the wire, its name for people, and the other spellings accepted."""

    code: str
    name: str
    file_name: str
    aliases: tuple[str, ...] = ()


LANGUAGES: tuple[Language, ...] = (
    Language(code="py", name="Python", file_name="main.py", aliases=("python", "python3")),
    Language(code="js", name="JavaScript", file_name="main.js", aliases=("javascript", "node")),
    Language(code="ts", name="TypeScript", file_name="main.ts", aliases=("typescript",)),
    Language(code="go", name="Go", file_name="main.go", aliases=("golang",)),
    Language(code="java", name="Java", file_name="Main.java"),
    Language(code="c", name="C", file_name="main.c"),
    Language(code="cpp", name="C++", file_name="main.cpp", aliases=("c++", "cxx")),
    Language(code="php", name="PHP", file_name="main.php"),
    Language(code="rs", name="Rust", file_name="main.rs", aliases=("rust",)),
    Language(code="r", name="R", file_name="main.r"),
    Language(code="f90", name="Fortran", file_name="main.f90", aliases=("fortran",)),
    Language(code="d", name="D", file_name="main.d", aliases=("dlang",)),
    Language(code="bash", name="Bash", file_name="main.sh", aliases=("sh", "shell")),
)

LANGUAGE_CODES: tuple[str, ...] = tuple(language.code for language in LANGUAGES)

CHECKED_ON_REQUEST = ("ts",)
"""Those that run without a look at types, and can have one (`RunCode.check_types`)."""

_BY_SPELLING: dict[str, Language] = {
    spelling: language
    for language in LANGUAGES
    for spelling in (language.code, language.name.lower(), *language.aliases)
}


def find_language(spelling: str) -> Language | None:
    """Return the language that `spelling` (a code, name or alias, in any case) means, if any."""
    return _BY_SPELLING.get(spelling.strip().lower())
