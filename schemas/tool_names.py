"""What a tool is called in code: names that are registered anyhow become identifiers of the language.

Chat front ends make the same identifiers on their side and tell them to the model, so each rule is part of
the contract.
"""

import re

TOOL_LANGUAGES = ("py", "bash")
"""Languages whose programs may call tools."""

# fmt: off
_PYTHON_KEYWORDS = frozenset(
    {
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
        "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in",
        "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
    }
)
_BASH_RESERVED = frozenset(
    {
        "if", "then", "else", "elif", "fi", "case", "esac", "for", "while", "until", "do", "done", "in",
        "function", "select", "time", "coproc", "declare", "typeset", "local", "readonly", "export",
        "unset",
    }
)
# fmt: on


def identifier_of(name: str, language: str) -> str:
    """Return the function that stands for the tool `name` in `language`, one of `TOOL_LANGUAGES`.

    Empty where nothing of the name can be part of an identifier.
    """
    shell = language == "bash"
    joined = re.sub(r"[-\s.]" if shell else r"[-\s]", "_", name)
    kept = re.sub(r"[^a-zA-Z0-9_]", "", joined)
    if kept[:1].isdigit():
        kept = f"_{kept}"
    return f"{kept}_tool" if kept in (_BASH_RESERVED if shell else _PYTHON_KEYWORDS) else kept
