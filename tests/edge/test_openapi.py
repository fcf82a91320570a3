"""The document describes the routes that are there, all of them and no others."""

from typing import Any

from starlette.routing import Route

from edge.authentication import OPEN_PATHS

DOCUMENTS = {"/openapi.json", "/asyncapi.json", "/docs", "/docs/streams", "/docs/assets/{name}"}
"""What describes does not describe itself."""


async def test_every_route_is_described_and_every_description_has_its_route(house: Any) -> None:
    """With the methods it answers to."""
    document = (await house.client.get("/openapi.json")).json()
    described = {
        (path, method.upper()) for path, operations in document["paths"].items() for method in operations
    }
    served = {
        (route.path, method)
        for route in house.app.routes
        if isinstance(route, Route) and route.path not in DOCUMENTS
        for method in route.methods - {"HEAD"}
    }
    assert described == served


async def test_the_document_needs_no_key_and_says_which_routes_do(house: Any) -> None:
    """The header it names is the configured one."""
    del house.client.headers["x-api-key"]
    document = (await house.client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["name"] == "x-api-key"
    unguarded = {
        path
        for path, operations in document["paths"].items()
        if any(operation.get("security") == [] for operation in operations.values())
    }
    assert unguarded == OPEN_PATHS - DOCUMENTS


async def test_every_reference_of_the_document_leads_somewhere(house: Any) -> None:
    """To a schema generated from the Struct that is really used."""
    import re

    answer = await house.client.get("/openapi.json")
    names = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert names
    assert names <= set(answer.json()["components"]["schemas"])


async def test_without_docs_there_is_no_document(make_house: Any) -> None:
    """As the operator chose."""
    house = await make_house(docs=False)
    assert (await house.client.get("/openapi.json")).status_code == 404
