"""`make demo`: Millrace at work, each claim checked while you watch; status 1 if one does not hold."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis
from service import KEY, Service, wait_for

HELLO = Path(__file__).parent / "hello"
HELLO_FILES = {"bash": "hello.sh", "java": "Hello.java"}
SECONDS_MAX = 170

Event = dict[str, Any]


@dataclass
class Demo:
    """A running service and a client for it."""

    service: Service
    http: httpx.Client

    def submit(self, code: str, language: str = "py", **more: Any) -> str:
        """Submit a program; return its path."""
        answer = self.http.post("/executions", json={"language": language, "code": code, **more})
        check(answer.status_code == 202, f"accepted: {answer.text}")
        return str(answer.headers["location"])

    def finished(self, path: str) -> Event:
        """Wait for the end of an execution."""
        while True:
            answer: Event = self.http.get(path, headers={"prefer": "wait=30"}).json()
            if answer["status"] == "finished":
                return answer

    def events(self, path: str, after: int = 0) -> Iterator[Event]:
        """Follow an execution by SSE, from after a `seq`, as a browser would."""
        headers = {"accept": "text/event-stream", "last-event-id": str(after)}
        with self.http.stream("GET", f"{path}/events", headers=headers) as stream:
            yield from sse(stream)


class TooSlow(BaseException):
    """The whole demo takes too long; no step may take this for a failure of its own."""


Step = Callable[[Demo], None]


def main() -> int:
    """Run every step; return 1 if any failed."""
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS_MAX)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-demo-") as folder, Service(Path(folder)) as service:
        try:
            failed = walk_through(service)
        except (RuntimeError, TooSlow) as error:
            say(f"FAILED: {error}")
            failed = STEPS
        if failed:
            say(f"\nThe service said last:\n{service.log_tail()}")
    say(f"\n{len(STEPS) - len(failed)} of {len(STEPS)} steps held, in {time.monotonic() - began:.0f} s.")
    return 1 if failed else 0


def walk_through(service: Service) -> list[Step]:
    """Run every step; return those of which something did not hold."""
    say(service.wait_until_ready())
    with httpx.Client(base_url=service.url, headers={"x-api-key": KEY}, timeout=60) as http:
        return [step for step in STEPS if not shown(step, Demo(service, http))]


def run_and_wait(demo: Demo) -> None:
    """POST /exec answers when the code has run"""
    body = {"lang": "py", "code": "import os\nprint(6 * 7, 'by process', os.getpid())"}
    began = time.perf_counter()
    answer = demo.http.post("/exec", json=body).json()
    say(f"  {answer['stdout'].strip()!r} after {(time.perf_counter() - began) * 1000:.0f} ms")
    check(answer["stdout"].startswith("42 "), "the answer is 42")


def watch_lines_arrive(demo: Demo) -> None:
    """An SSE reader gets each line while the program still runs"""
    code = "import time\nfor n in range(5):\n    print(f'line {n}')\n    time.sleep(0.3)"
    began = time.perf_counter()
    text, line_arrived_at = "", []
    body = {"language": "py", "code": code}
    with demo.http.stream(
        "POST", "/executions", json=body, headers={"accept": "text/event-stream"}
    ) as stream:
        for event in sse(stream):
            at = time.perf_counter() - began
            said = event.get("data", "")
            say(f"  {at:5.2f} s  {event['type']:<9} {said.strip() or event.get('outcome', '')}")
            text += said
            line_arrived_at += [at] * (text.count("\n") - len(line_arrived_at))
    check(text == "".join(f"line {n}\n" for n in range(5)), "all five lines")
    early = [at - line_arrived_at[n] > 0.1 * (5 - n) for n in range(5)]
    check(all(early), "each line came long before the end")


def publish_without_http(demo: Demo) -> None:
    """A bare Redis client publishes with one XADD and reads the log"""
    with redis.Redis(unix_socket_path=demo.service.broker_socket, decode_responses=True) as client:
        data = json.dumps({"id": "job-1", "language": "py", "code": "print('from the stream')"})
        say(f"  XADD millrace:requests * data '{data}'")
        client.xadd("millrace:requests", {"data": data})
        events: list[Event] = []
        while not events or events[-1]["type"] != "finished":
            last = f"{len(events)}-0" if events else "0"
            found = client.xread({"millrace:log:job-1": last}, block=20_000)
            check(bool(found), "the log went on")
            for entry, fields in found[0][1]:
                events.append(json.loads(fields["data"]))
                say(f"  {entry:<4} {events[-1]['type']:<9} {events[-1].get('data', '').strip()}")
    check([event["seq"] for event in events] == list(range(1, len(events) + 1)), "no gap in seq")
    check(text_of(events) == "from the stream\n", "the output is whole")


def kill_the_edge(demo: Demo) -> None:
    """kill -9 of the edge loses nothing: the reader comes back with Last-Event-ID"""
    code = "import time\nfor n in range(20):\n    print(n, flush=True)\n    time.sleep(0.1)"
    path = demo.submit(code)
    before = demo.service.child("edge")
    events: list[Event] = []
    try:
        for event in demo.events(path):
            events.append(event)
            if text_of(events).count("\n") >= 5 and demo.service.child("edge") == before:
                os.kill(before, signal.SIGKILL)
    except httpx.HTTPError as error:
        say(f"  edge {before} killed after seq {len(events)}: {type(error).__name__}")
    check(events[-1]["type"] != "finished", "the connection was cut in the middle")
    cut_at = len(events)
    after = wait_for(lambda: {demo.service.child("edge")} - {0, before}, "another edge process").pop()
    events += demo.events(path, after=cut_at)
    say(f"  edge {after} told the rest: seq {cut_at + 1} to {len(events)}")
    check([event["seq"] for event in events] == list(range(1, len(events) + 1)), "every event once, in order")
    check(text_of(events) == "".join(f"{n}\n" for n in range(20)), "all twenty lines, once each")


def cancel(demo: Demo) -> None:
    """DELETE cancels a run; what it wrote is kept"""
    path = demo.submit("import time\nprint('up', flush=True)\ntime.sleep(60)")
    for event in demo.events(path):
        if event["type"] == "output" and event["data"].endswith("\n"):  # the line may come in two pieces
            check(demo.http.delete(path).status_code == 202, "the cancel was taken")
    ended = demo.finished(path)
    say(f"  {ended['outcome']}: {ended['message']} It had written {ended['stdout']!r}.")
    check((ended["outcome"], ended["stdout"]) == ("cancelled", "up\n"), "cancelled, output kept")


def time_out(demo: Demo) -> None:
    """A run that takes too long is stopped; what it wrote is kept"""
    path = demo.submit("print('so far', flush=True)\nwhile True: pass", limits={"timeout_s": 1})
    ended = demo.finished(path)
    say(f"  {ended['outcome']}: {ended['message']} It had written {ended['stdout']!r}.")
    check((ended["outcome"], ended["stdout"]) == ("timed_out", "so far\n"), "timed out, output kept")


def say_hello_in_every_language(demo: Demo) -> None:
    """Hello world in every language this host has"""
    for language in demo.http.get("/languages").json()["languages"]:
        name, version = language["name"], language["version"]
        if not language["available"]:
            say(f"  {name:<11} not here: {language['missing']}")
            continue
        code = (HELLO / HELLO_FILES.get(language["code"], f"hello.{language['code']}")).read_text()
        began = time.perf_counter()
        answer = demo.finished(demo.submit(code, language["code"], stdin=""))
        took_ms = (time.perf_counter() - began) * 1000
        said = (answer["stdout"] or answer["stderr"]).strip()
        say(f"  {name:<11} {version:<10} {took_ms:6.0f} ms  {said}")
        check(said == f"Hello from {name}" and answer["exit_code"] == 0, f"{name} says hello")


def stop_everything(demo: Demo) -> None:
    """One Ctrl-C stops everything and leaves nothing behind"""
    processes = demo.service.children()
    status = demo.service.stop()
    left = {name: pid for name, pid in processes.items() if Path(f"/proc/{pid}").exists()}
    say(f"  status {status}; stopped: {', '.join(sorted(processes))}; left: {', '.join(left) or 'nothing'}")
    check(status == 0 and not left, "all of it is gone")


STEPS: list[Step] = [
    run_and_wait,
    watch_lines_arrive,
    publish_without_http,
    kill_the_edge,
    cancel,
    time_out,
    say_hello_in_every_language,
    stop_everything,
]


def shown(step: Step, demo: Demo) -> bool:
    """Run one step; return whether all it claims held."""
    say(f"\n{emphasis(step.__doc__ or step.__name__)}")
    try:
        step(demo)
    except (AssertionError, httpx.HTTPError, redis.RedisError, RuntimeError, OSError, KeyError) as error:
        say(f"  FAILED: {type(error).__name__}: {error}")
        return False
    return True


def check(holds: bool, claim: str) -> None:
    """Raise if a claim does not hold."""
    if not holds:
        raise AssertionError(f"this did not hold: {claim}")


def sse(stream: httpx.Response) -> Iterator[Event]:
    """Yield the events of an SSE answer."""
    check(stream.status_code == 200, f"a stream: {stream.status_code}")
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def text_of(events: list[Event]) -> str:
    """Return what the program wrote."""
    return "".join(event["data"] for event in events if event["type"] == "output")


def emphasis(text: str) -> str:
    """Return `text`, bold on a terminal."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def _too_slow(_number: int, _frame: object) -> None:
    raise TooSlow(f"the demo took more than {SECONDS_MAX} s")


if __name__ == "__main__":
    sys.exit(main())
