"""What to tell the author of a program that imports a module which is not here."""

from __future__ import annotations

_EXPECTED = """
    PIL bs4 cloudpickle dateutil docx jinja2 lxml lz4 markdown matplotlib networkx numpy openpyxl pandas
    pptx pypdf pytz regex reportlab requests scipy seaborn sklearn statsmodels sympy tabulate tqdm xlrd
    xlsxwriter yaml
"""
EXPECTED = frozenset(_EXPECTED.split())
"""The modules of the guest environment by the names they are imported by (infra/guest/requirements.in)."""


def advice(error: ModuleNotFoundError) -> str:
    """Return a sentence to show below the traceback of `error`, empty if there is nothing to say."""
    module = (error.name or "").partition(".")[0]
    if not module or error.name != module:
        return ""  # part of a package that is here, so the mistake is in the name
    if module in EXPECTED:
        return f"{module} is not installed on this server; its operator can add it by `make guest`."
    return f"{module} is not installed on this server, and programs cannot install packages."
