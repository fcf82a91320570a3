"""Health, languages, metrics: what the edge says of itself and of everything behind it."""

from datetime import UTC, datetime
from typing import Any

from infra.errors import Unavailable
from schemas.presence import HandlerPresence, PoolPresence


class Away:
    """A broker that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: Any, **__: Any) -> Any:
            raise Unavailable("Redis at redis://127.0.0.1:1 does not answer.", retry_after_s=2.5)

        return refuse


async def test_a_living_edge_says_so_whatever_else_is_away(make_house: Any) -> None:
    """Restarting it would not bring Redis back."""
    house = await make_house(publisher=Away())
    assert (await house.client.get("/health")).json() == {"status": "ok"}


async def test_an_edge_is_ready_when_its_broker_answers(house: Any) -> None:
    """No handler is needed to accept work."""
    assert (await house.client.get("/health/ready")).status_code == 200


async def test_an_edge_without_its_broker_is_not_ready(make_house: Any) -> None:
    """And says what does not answer."""
    house = await make_house(publisher=Away())
    answer = await house.client.get("/health/ready")
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["message"]


async def test_an_edge_that_closes_is_not_ready(house: Any) -> None:
    """So that a load balancer sends nobody new."""
    house.closing.set()
    assert (await house.client.get("/health/ready")).status_code == 503


async def test_detailed_health_tells_of_each_dependency_and_handler(
    house: Any, handler_presence: HandlerPresence
) -> None:
    """Degraded as long as nobody runs anything."""
    assert (await house.client.get("/health/detailed")).json()["status"] == "degraded"
    house.presence.alive.append(handler_presence)
    answer = await house.client.get("/health/detailed")
    told = answer.json()
    assert (answer.status_code, told["status"]) == (200, "ok")
    assert told["dependencies"]["broker"]["status"] == "ok"
    assert told["dependencies"]["broker"]["latency_s"] >= 0
    assert told["queue"] == {"waiting": 0, "pending": 0}
    assert (told["handlers"][0]["kind"], told["handlers"][0]["slots"]) == ("fake", 4)


async def test_a_pool_in_trouble_is_told_though_no_handler_lives(house: Any) -> None:
    """It is the pool's own word, and it degrades the service also where handlers live."""
    now = datetime.now(UTC)
    why = "py: 0 of 2 pods are ready: ErrImagePull"
    house.presence.at_work.append(PoolPresence(id="p", started_at=now, seen_at=now, leads=True, notes=[why]))
    told = (await house.client.get("/health/detailed")).json()
    assert (told["status"], told["handlers"]) == ("degraded", [])
    assert (told["pools"][0]["leads"], told["pools"][0]["notes"]) == (True, [why])


async def test_a_pool_in_trouble_degrades_a_service_with_handlers(
    house: Any, handler_presence: HandlerPresence
) -> None:
    """Jobs may stand in for a while; somebody should look."""
    now = datetime.now(UTC)
    house.presence.alive.append(handler_presence)
    for notes, status in ([], "ok"), (["quota exceeded"], "degraded"):
        house.presence.at_work[:] = [
            PoolPresence(id="p", started_at=now, seen_at=now, leads=True, notes=notes)
        ]
        assert (await house.client.get("/health/detailed")).json()["status"] == status


async def test_detailed_health_stays_readable_while_the_broker_is_away(make_house: Any) -> None:
    """503, each dependency by itself."""
    house = await make_house(publisher=Away())
    house.presence.away = True
    answer = await house.client.get("/health/detailed")
    assert (answer.status_code, answer.json()["status"], answer.json()["queue"]) == (503, "unavailable", None)
    assert {one["status"] for one in answer.json()["dependencies"].values()} == {"unavailable"}


async def test_a_dependency_that_hangs_is_given_up(make_house: Any) -> None:
    """After the time the operator allows."""
    import asyncio

    class Hanging:
        async def ping(self) -> float:
            await asyncio.Event().wait()
            return 0.0

    house = await make_house(publisher=Hanging(), handled=False, health_timeout_s=0.01)
    answer = await house.client.get("/health/ready")
    assert answer.status_code == 503
    assert "0.01 seconds" in answer.json()["message"]


async def test_dependencies_are_watched_and_the_log_says_when_one_goes_or_comes(
    house: Any,
) -> None:
    """Metrics have what was seen last."""
    import structlog

    from edge.dependencies import Dependencies
    from edge.health_watch import HealthWatch
    from edge.metrics import Metrics

    metrics = Metrics()
    watch = HealthWatch(Dependencies(house.transport, house.presence, 1.0), metrics, every_s=3600)
    with structlog.testing.capture_logs() as logs:
        for away in (False, True, True, False):
            house.presence.away = away
            await watch.look()
            shown = bytes((await metrics.show(None)).body).decode()
            assert f'millrace_dependency_up{{dependency="presence"}} {float(not away)}' in shown
            assert 'millrace_dependency_up{dependency="broker"} 1.0' in shown
    said = [(line["event"], line["dependency"]) for line in logs]
    assert said == [("dependency_away", "presence"), ("dependency_back", "presence")]


async def test_languages_tell_what_runs_here_and_how_warm(
    house: Any, handler_presence: HandlerPresence
) -> None:
    """All thirteen are listed; what is missing is named."""
    house.presence.alive += [handler_presence, handler_presence]
    languages = {one["code"]: one for one in (await house.client.get("/languages")).json()["languages"]}
    assert len(languages) == 13
    python = languages["py"]
    assert (python["name"], python["version"], python["available"], python["warm"]) == (
        "Python",
        "3.11.2",
        True,
        6,
    )
    assert "python3" in python["aliases"]
    assert (languages["go"]["available"], languages["go"]["missing"]) == (False, "apt install golang-go")
    assert languages["rs"]["missing"] == "No live handler runs it."


async def test_metrics_count_requests_by_route_and_never_by_id(house: Any) -> None:
    """Ids in labels would grow without bound."""
    for number in range(3):
        await house.client.get(f"/executions/id-{number}")
        await house.client.get(f"/nowhere/{number}")
    text = (await house.client.get("/metrics")).text
    counted = 'millrace_http_requests_total{method="GET",route="/executions/{id}",status="404"} 3.0'
    assert counted in text
    assert 'route="unknown",status="404"} 3.0' in text
    assert "id-0" not in text
    assert "nowhere" not in text
