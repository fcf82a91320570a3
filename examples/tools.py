"""Code that calls tools of yours while it runs: natively, over events, and as chat front ends do it.

MILLRACE_URL=http://127.0.0.1:8000 MILLRACE_KEY=test-api-key .venv/bin/python examples/tools.py
"""

import json
import os

import httpx

TOOLS = [
    {
        "name": "get-weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
CODE = """
cities = await asyncio.gather(*(get_weather(city=name) for name in ("Ulm", "Oslo", "Atlantis")),
                              return_exceptions=True)
for city in cities:
    print(city if isinstance(city, Exception) else f"{city['city']}: {city['degrees']} degrees")
"""
WEATHER = {"Ulm": 21, "Oslo": 12}


def main() -> None:
    """Run the same code both ways."""
    url = os.environ.get("MILLRACE_URL", "http://127.0.0.1:8000")
    key = os.environ.get("MILLRACE_KEY", "test-api-key")
    with httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=60, trust_env=False) as millrace:
        print("natively:")
        print(natively(millrace), end="")
        print("as a front end:")
        print(as_a_front_end(millrace), end="")


def natively(millrace: httpx.Client) -> str:
    """Submit, follow the events, answer each `tool_calls_requested`."""
    command = {"language": "py", "code": CODE, "tools": TOOLS}
    place = answer(millrace.post("/executions", json=command))["links"]["self"]
    lines = {"accept": "application/x-ndjson"}
    with millrace.stream("GET", f"{place}/events", headers=lines) as events:
        for event in map(json.loads, events.iter_lines()):
            if event["type"] == "tool_calls_requested":
                results = [call_tool(call) for call in event["calls"]]
                answer(millrace.post(f"{place}/tool-results", json={"results": results}))
    return answer(millrace.get(place))["stdout"]


def as_a_front_end(millrace: httpx.Client) -> str:
    """Ask, and go on with the token of each answer until the program has ended."""
    told = answer(millrace.post("/exec/programmatic", json={"code": CODE, "tools": TOOLS}))
    while told["status"] == "tool_call_required":
        results = [call_tool(call) for call in told["tool_calls"]]
        body = {"continuation_token": told["continuation_token"], "tool_results": results}
        told = answer(millrace.post("/exec/programmatic", json=body))
    return told["stdout"]


def call_tool(call: dict) -> dict:
    """Do what the code asks for; here a look into a table."""
    city = call["input"]["city"]
    if city not in WEATHER:
        return {"call_id": call["id"], "is_error": True, "error_message": f"There is no {city}."}
    return {"call_id": call["id"], "result": {"city": city, "degrees": WEATHER[city]}}


def answer(response: httpx.Response) -> dict:
    """Return the body of a good answer; a refusal says why."""
    if response.is_error:
        raise SystemExit(f"{response.status_code}: {response.text}")
    return response.json()


if __name__ == "__main__":
    main()
