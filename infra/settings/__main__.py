"""`python -m infra.settings`: write again what is generated from the settings, in pages and in the chart."""

import re
from pathlib import Path

from infra.settings.helm_schema import helm_schema
from infra.settings.render import reference, template

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- generated from the settings: begin -->", "<!-- generated from the settings: end -->"


def documents() -> dict[Path, str]:
    """Return the generated documents by path, as they should stand."""
    page = ROOT / "docs" / "configuration.md"
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    table = f"{BEGIN}\n\n{reference()}\n{END}"
    return {
        ROOT / ".env.example": template(),
        ROOT / "infra" / "helm" / "millrace" / "values.schema.json": helm_schema(),
        page: between.sub(lambda _: table, page.read_text("utf-8")),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, "utf-8")
