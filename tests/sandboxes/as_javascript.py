"""The steps of a pretended program as a real one in JavaScript."""

import json

from sandboxes.fake_script import AnyStep, Delete, Die, Echo, End, Put, Show, Tell, Wait, Write

_BEGINNING = """
const fs = require("fs");
const put = (fd, data) => {
  for (let at = 0; at < data.length; ) at += some(() => fs.writeSync(fd, data, at));
};
const some = (act) => { for (;;) try { return act(); } catch (e) { if (e.code !== "EAGAIN") throw e; } };
const wait = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
const line = () => {
  const bytes = [], one = Buffer.alloc(1);
  while (fs.readSync(0, one) && (bytes.push(one[0]), one[0] !== 10));
  return Buffer.from(bytes);
};
"""


def as_javascript(steps: tuple[AnyStep, ...]) -> str:
    """Return a program for node that does these steps."""
    return "\n".join([_BEGINNING, *(_line(step) for step in steps)])


def _line(step: AnyStep) -> str:  # noqa: C901, PLR0911 - a table
    text = json.dumps
    match step:
        case Write(stream=stream, times=times):
            data = f"Buffer.from({text(list(step.data()))})"
            return f"for (let i = 0; i < {times}; i++) put({1 if stream == 'stdout' else 2}, {data});"
        case Wait(seconds):
            return f"wait({min(seconds, 1e6) * 1000});"
        case Echo("line"):
            return "put(1, line());"
        case Echo():
            return "put(1, fs.readFileSync(0));"
        case Tell("args"):
            return "for (const word of process.argv.slice(2)) put(1, Buffer.from(word + '\\n'));"
        case Tell():
            return (
                "for (const item of Object.entries(process.env)) put(1, Buffer.from(item.join('=') + '\\n'));"
            )
        case Put(name, content):
            folder = f"fs.mkdirSync(require('path').dirname({text(name)}), {{ recursive: true }}); "
            return f"{folder}fs.writeFileSync({text(name)}, {text(content)});"
        case Delete(name):
            return f"fs.unlinkSync({text(name)});"
        case Show(name):
            return f"put(1, fs.readFileSync({text(name)}));"
        case End(code):
            return f"process.exit({code});"
        case Die(name):
            return f"process.kill(process.pid, {text(name)}); wait(1e5);"
        case _:
            raise NotImplementedError
