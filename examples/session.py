"""A session with state: what one run defines, the next one has; saved, downloaded, and put back.

MILLRACE_URL=http://127.0.0.1:8000 MILLRACE_KEY=test-api-key .venv/bin/python examples/session.py
"""

import os

import httpx

DEFINE = """
from dataclasses import dataclass

@dataclass
class Account:
    owner: str
    balance: int = 0

account = Account("Ada")
def deposit(amount):
    account.balance += amount
    return account
lines = (line for line in ["a generator", "cannot be saved"])
"""


def main() -> None:
    """Define, use, keep a copy, spoil it, and put the copy back."""
    url = os.environ.get("MILLRACE_URL", "http://127.0.0.1:8000")
    key = os.environ.get("MILLRACE_KEY", "test-api-key")
    with httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=60, trust_env=False) as millrace:
        session = answer(millrace.post("/sessions"))["id"]

        defined = run(millrace, session, DEFINE)
        print("note:", defined["state"]["error"])
        print(run(millrace, session, "print(deposit(70))")["stdout"], end="")

        copy = millrace.get(f"/state/{session}")
        run(millrace, session, "account = None")
        spoilt = millrace.head(f"/state/{session}").headers["etag"]
        answer(millrace.put(f"/state/{session}", content=copy.content, headers={"if-match": spoilt}))
        print(run(millrace, session, "print(deposit(30))")["stdout"], end="")

        millrace.delete(f"/sessions/{session}")


def run(millrace: httpx.Client, session: str, code: str) -> dict:
    """Run Python in the session and wait for its good end."""
    command = {"language": "py", "code": code, "session_id": session}
    done = answer(millrace.post("/executions", json=command, headers={"prefer": "wait=60"}))
    if done["status"] != "finished" or done["exit_code"] != 0:
        raise SystemExit(f"{code}\n{done}")
    return done


def answer(response: httpx.Response) -> dict:
    """Return the body of a good answer; a refusal says why."""
    if response.is_error:
        raise SystemExit(f"{response.status_code}: {response.text}")
    return response.json()


if __name__ == "__main__":
    main()
