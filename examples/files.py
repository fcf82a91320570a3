"""Files in and out over the routes that chat front ends use: upload, run, list, download, delete.

MILLRACE_URL=http://127.0.0.1:8000 MILLRACE_KEY=test-api-key .venv/bin/python examples/files.py
"""

import os

import httpx

TABLE = b"city,inhabitants\nUlm,129000\nBern,134000\n"
CODE = """
import csv
rows = list(csv.DictReader(open("cities.csv")))
total = sum(int(row["inhabitants"]) for row in rows)
with open("report.txt", "w") as report:
    report.write(f"{len(rows)} cities, {total} inhabitants\\n")
print("done")
"""


def main() -> None:
    """Take a table through one run and print what came of it."""
    url = os.environ.get("MILLRACE_URL", "http://127.0.0.1:8000")
    key = os.environ.get("MILLRACE_KEY", "test-api-key")
    with httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=60, trust_env=False) as millrace:
        uploaded = answer(millrace.post("/upload", files={"file": ("Städte 2026.csv", TABLE)}))
        session, file = uploaded["storage_session_id"], uploaded["files"][0]["fileId"]

        # The name here decides where the file lies for the code.
        reference = {"id": file, "storage_session_id": session, "name": "cities.csv"}
        run = answer(millrace.post("/exec", json={"lang": "py", "code": CODE, "files": [reference]}))
        print("stdout:", run["stdout"].strip())

        for made in run["files"]:
            if not made.get("inherited"):
                content = millrace.get(f"/download/{made['storage_session_id']}/{made['id']}").text
                print(f"{made['name']}: {content.strip()}")

        [listed] = answer(millrace.get(f"/files/{session}", params={"detail": "full"}))
        print("uploaded as:", listed["metadata"]["original-filename"])
        answer(millrace.delete(f"/files/{session}/{file}"))
        print("left:", answer(millrace.get(f"/files/{session}")))


def answer(response: httpx.Response) -> dict:
    """Return the body of a good answer; a refusal says why."""
    if response.is_error:
        raise SystemExit(f"{response.status_code}: {response.text}")
    return response.json()


if __name__ == "__main__":
    main()
