"""Run by a test as an ordinary user: a few executions on local sandboxes, results as one JSON object."""

import asyncio
import json
import os
import sys
from pathlib import Path

from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.toolchains import find_toolchains
from tests.sandboxes.bodies import Body

PROGRAMS = {
    "hello": ("py", "print(open('in.txt').read()); open('out.txt', 'w').write('made')"),
    "hog": ("py", "b = bytearray(600 << 20)"),
    "sleeper": ("bash", "echo x; setsid sleep 1000 & sleep 1000"),
    "built": ("c", '#include <stdio.h>\nint main() { puts("built"); return 3; }'),
    "closed": ("bash", "echo x > secret; chmod 0 secret"),
}


async def main(folder: str) -> None:
    """Run all and tell."""
    sandboxes = LocalSandboxes(LocalConfig(), lambda uid: find_toolchains(uid, Path(folder)))
    await sandboxes.start()
    body = Body("tier-B", sandboxes)
    warm = {language.code: language.warm for language in sandboxes.info().languages}
    told: dict[str, object] = {"uid": os.getuid(), "tier": sandboxes.info().tier, "warm": warm["py"] > 0}
    for name, (language, code) in PROGRAMS.items():
        result = await body.run(code, language=language, files={"in.txt": b"given"}, timeout_s=2.0)
        files = {name: content.decode() for name, content in result.files.items()}
        told[name] = [result.exit.outcome, result.exit.exit_code, result.stdout.decode(), files]
    await sandboxes.close()
    print(json.dumps(told))


asyncio.run(main(sys.argv[1]))
