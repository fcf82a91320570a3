"""What to call a Java source file, and which class of it to run.

A public type must stand in a file of its name (Java Language Specification, 7.6), and people call
theirs what they like. This reads just enough of the code to know: comments and texts are taken out,
and types count only outside all braces.
"""

import re
from collections.abc import Iterator

# No alternative can fail once it began: a stranger's code must not make the matcher try again and again.
_NO_CODE = re.compile(
    r'/\*.*?(?:\*/|\Z)|//[^\n]*|""".*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?' + r"|'(?:\\.|[^'\\\n])*'?", re.DOTALL
)
_TOKEN = re.compile(
    r"(?P<open>\{)|(?P<close>\})|(?P<main>\bvoid\s+main\s*\()"
    r"|(?P<public>\bpublic\s+(?:[\w-]+\s+){0,4}?)?\b(?:class|record|enum|interface)\s+(?P<name>\w+)"
)
_PACKAGE = re.compile(r"^[ \t]*package\s+([\w.]+)\s*;", re.MULTILINE)


def java_names(code: str) -> tuple[str, str]:
    """Return the file name that javac demands for `code`, and the full name of the class to run.

    That class is the one around `void main(`, else the public one. With no type at all (Java 25
    allows that) both are `Main`.
    """
    bare = _NO_CODE.sub(" ", code)
    public, with_main = "", ""
    current = ""
    for kind, name in _outer_types(bare):
        current = name or current
        public = name if kind == "public" and not public else public
        with_main = current if kind == "main" and not with_main else with_main
    main = with_main or public or "Main"
    package = _PACKAGE.search(bare)
    return f"{public or 'Main'}.java", f"{package[1]}.{main}" if package else main


def _outer_types(bare: str) -> Iterator[tuple[str, str]]:
    """Yield (`public` or `type`, name) of each type outside all braces, and (`main`, '') of main methods."""
    depth = 0
    for token in _TOKEN.finditer(bare):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["main"]:
            yield "main", ""
        elif depth == 0:
            yield "public" if token["public"] else "type", token["name"]
