"""The edge's front door: every ring around a request and every route, on one screen."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from edge.access_log import AccessLog
from edge.authentication import Authentication
from edge.back_pressure import BackPressure
from edge.body_limit import BodyBound, BodyLimit
from edge.compatible import Compatible, CompatibleRooms
from edge.config import EdgeConfig
from edge.continuation import Continuations
from edge.control import Control
from edge.dependencies import Dependencies
from edge.document import Document
from edge.errors import Errors
from edge.executions import Executions
from edge.health import HealthRoutes
from edge.languages import Languages
from edge.metrics import CountRequests, Metrics
from edge.openapi import openapi_document
from edge.pages import ASSETS, HTTP_PAGE, STREAMS_PAGE, Pages
from edge.paths import Paths
from edge.programmatic import Programmatic
from edge.queue import Queue
from edge.queue_metrics import QueueMetrics
from edge.request_id import RequestId
from edge.sessions import SessionRoutes
from edge.states import StateRoutes
from edge.stored_files import StoredFiles
from edge.tool_results import ToolResults
from edge.uploads import Uploads
from edge.user_limits import UserLimits
from infra.stores.files import FileStore
from infra.stores.presence import Presence
from infra.stores.rates import Rates
from infra.stores.sessions import Sessions
from infra.stores.state import StateStore
from infra.stores.tool_answers import ToolAnswers
from streams.asyncapi import asyncapi_document
from streams.protocol import Publisher

_FORM_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stores:
    """What the edge looks things up in, and where it puts files."""

    presence: Presence
    files: FileStore
    rates: Rates
    sessions: Sessions
    states: StateStore
    answers: ToolAnswers


def create_app(
    config: EdgeConfig,
    publisher: Publisher,
    stores: Stores,
    *,
    metrics: Metrics | None = None,
    closing: asyncio.Event | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """Return the application. Once `closing` is set, streams and waits end cleanly and it is not ready."""
    metrics = metrics or Metrics()
    app = _Application(
        routes=_routes(config, publisher, stores, metrics, closing or asyncio.Event(), now),
        middleware=_onion(config, metrics, stores.rates),
    )
    app.router.redirect_slashes = False
    return app


class _Application(Starlette):
    """Starlette without its own rings: `Errors` answers whatever goes wrong, also what Starlette raises."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router
        for ring, args, kwargs in reversed(self.user_middleware):
            app = ring(app, *args, **kwargs)
        return app


def _onion(config: EdgeConfig, metrics: Metrics, rates: Rates) -> list[Middleware]:
    """Return the rings around every route, outermost first."""
    rings = [
        Middleware(RequestId),
        Middleware(CountRequests, metrics=metrics),
        Middleware(AccessLog) if config.access_logs else None,
        _cors(config) if config.cors_origins else None,
        Middleware(Errors),
        Middleware(Paths),
        Middleware(BodyLimit, bytes_max=config.body_bytes_max, special=_larger_bodies(config)),
        Middleware(Authentication, config=config),
        _user_limits(config, rates) if config.users else None,
    ]
    return [ring for ring in rings if ring is not None]


def _user_limits(config: EdgeConfig, rates: Rates) -> Middleware:
    return Middleware(UserLimits, rates=rates, per_minute=config.user_limits_per_minute)


def _routes(
    config: EdgeConfig,
    publisher: Publisher,
    stores: Stores,
    metrics: Metrics,
    closing: asyncio.Event,
    now: Callable[[], datetime],
) -> list[BaseRoute]:
    queue = Queue(publisher)
    metrics.include(QueueMetrics(queue, config.health_timeout_s))
    back_pressure = BackPressure(queue, config.waiting_max, config.tenant_waiting_max)
    rooms = CompatibleRooms(config, publisher, back_pressure, stores.files, stores.sessions, now)
    results = ToolResults(publisher, stores.answers)
    executions = Executions(config, publisher, back_pressure, stores.files, stores.sessions, closing)
    sessions = SessionRoutes(publisher, stores.sessions)
    continuations = Continuations(config.continuation_key, config.continuation_s)
    control = Control(config, publisher, results)
    health = HealthRoutes(Dependencies(publisher, stores.presence, config.health_timeout_s), closing)
    return [
        Route("/exec", Compatible(rooms).run, methods=["POST"]),
        *_programmatic_routes(Programmatic(rooms, results, stores.answers, continuations)),
        *_file_routes(config, stores.files),
        Route("/executions", executions.submit, methods=["POST"]),
        Route("/executions/{id}", executions.show, methods=["GET"]),
        Route("/executions/{id}", control.cancel, methods=["DELETE"]),
        Route("/executions/{id}/events", executions.events, methods=["GET"]),
        Route("/executions/{id}/input", control.send_input, methods=["POST"]),
        Route("/executions/{id}/tool-results", control.resolve_tool_calls, methods=["POST"]),
        Route("/sessions", sessions.open, methods=["POST"]),
        Route("/sessions", sessions.listing, methods=["GET"]),
        Route("/sessions/{id}", sessions.show, methods=["GET"]),
        Route("/sessions/{id}", sessions.end, methods=["DELETE"]),
        *_state_routes(config, stores),
        Route("/languages", Languages(stores.presence).show, methods=["GET"]),
        Route("/health", health.live, methods=["GET"]),
        Route("/health/ready", health.ready, methods=["GET"]),
        Route("/health/detailed", health.detailed, methods=["GET"]),
        Route("/metrics", metrics.show, methods=["GET"]),
        *(_document_routes(config) if config.docs else ()),
    ]


def _document_routes(config: EdgeConfig) -> list[BaseRoute]:
    pages = Pages(config.page_files)
    http = Document(openapi_document(config.key_header))
    streams = Document(asyncapi_document(config.stream_names, config.stream_carrier))
    return [
        Route(HTTP_PAGE.document, http.show, methods=["GET"]),
        Route(STREAMS_PAGE.document, streams.show, methods=["GET"]),
        Route(HTTP_PAGE.path, pages.http, methods=["GET"]),
        Route(STREAMS_PAGE.path, pages.streams, methods=["GET"]),
        Route(ASSETS + "{name}", pages.asset, methods=["GET"]),
    ]


def _programmatic_routes(programmatic: Programmatic) -> list[BaseRoute]:
    return [
        Route("/exec/programmatic", programmatic.run, methods=["POST"]),
        Route("/exec/programmatic/cancel", programmatic.cancel, methods=["POST"]),
    ]


def _file_routes(config: EdgeConfig, files: FileStore) -> list[BaseRoute]:
    uploads, stored = Uploads(config, files), StoredFiles(files)
    return [
        Route("/upload", uploads.single, methods=["POST"]),
        Route("/upload/batch", uploads.batch, methods=["POST"]),
        Route("/files/{session}", stored.listing, methods=["GET"]),
        Route("/files/{session}/{file}", stored.delete, methods=["DELETE"]),
        Route("/sessions/{session}/objects/{file}", stored.show, methods=["GET"]),
        Route("/download/{session}/{file}", stored.download, methods=["GET"]),
    ]


def _state_routes(config: EdgeConfig, stores: Stores) -> list[BaseRoute]:
    states = StateRoutes(config, stores.states, stores.sessions)
    return [
        Route("/state/{session}", states.show, methods=["GET"]),
        Route("/state/{session}", states.replace, methods=["PUT"]),
        Route("/state/{session}", states.delete, methods=["DELETE"]),
        Route("/state/{session}/info", states.info, methods=["GET"]),
    ]


def _larger_bodies(config: EdgeConfig) -> dict[str, BodyBound]:
    """Return the longest body of each path that takes files (and what is around them) or state."""
    files = BodyBound(config.bounds.files_bytes_max + _FORM_BYTES_MAX, "MAX_TOTAL_FILE_SIZE_MB")
    state = BodyBound(config.state_bytes_max, "STATE_MAX_SIZE_MB")
    return {"/upload": files, "/upload/batch": files, "/state/": state}


def _cors(config: EdgeConfig) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=list(config.cors_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE", "HEAD"],
        allow_headers=[
            config.key_header,
            "authorization",
            "content-type",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "last-event-id",
            "prefer",
            "traceparent",
            "x-request-id",
        ],
        expose_headers=[
            "content-disposition",
            "content-range",
            "etag",
            "location",
            "preference-applied",
            "retry-after",
            "x-request-id",
        ],
    )
