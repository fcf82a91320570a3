"""`GET /languages`: what runs here, as the live handlers say."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from edge.responses import json_response
from infra.stores.presence import Presence
from schemas.http import LanguagesView, LanguageView
from schemas.languages import LANGUAGES, Language
from schemas.presence import HandlerPresence, LanguagePresence


class Languages:
    """The table of languages, joined with who can run them now."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    async def show(self, _request: Request) -> Response:
        """GET /languages: every language, also those that no live handler runs."""
        handlers = await self._presence.handlers()
        views = [language_view(language, handlers) for language in LANGUAGES]
        return json_response(LanguagesView(languages=views))


def language_view(language: Language, handlers: Sequence[HandlerPresence]) -> LanguageView:
    """Return what `handlers` together say of `language`."""
    said = [entry for handler in handlers for entry in handler.languages if entry.code == language.code]
    able = [entry for entry in said if entry.available]
    return LanguageView(
        code=language.code,
        name=language.name,
        version=able[0].version if able else "",
        aliases=list(language.aliases),
        available=bool(able),
        warm=sum(entry.warm for entry in able),
        missing="" if able else _missing(said),
    )


def _missing(said: Sequence[LanguagePresence]) -> str:
    return said[0].missing if said else "No live handler runs it."
