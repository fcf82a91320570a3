# ruff: noqa: E501, ASYNC221  programs stand on one line each; a fresh Python beside the warm one blocks nobody
"""A program in a warm child behaves as under `python3 -I -u -X utf8 main.py`: each runs both ways here."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAMS = {
    "a value is printed": "print(1)",
    "the last expression is not printed": "1 + 1",
    "a traceback names the file and shows the lines": "def f(x):\n    return 1 / x\n\nf(0)\n",
    "a syntax error points at its place": "print(1)\nif True print(2)\n",
    "an indentation error": "def f():\nreturn 1",
    "chained exceptions": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('no') from e\n",
    "an exception while handling one": "try:\n    {}['a']\nexcept KeyError:\n    1 / 0\n",
    "an exception group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "exit code 3": "import sys\nsys.exit(3)",
    "exit with a sentence": "import sys\nprint('a')\nsys.exit('fatal: ü')",
    "exit with nothing": "raise SystemExit",
    "exit with True": "raise SystemExit(True)",
    "exit with a tuple": "raise SystemExit((1, 2))",
    "negative and large exit codes": "import sys\nsys.exit(-2)",
    "an exit code beyond a byte": "import sys\nsys.exit(263)",
    "the site's exit": "exit(4)",
    "exit in a function in a thread pool": "import os\nos._exit(7)",
    "exit functions, last first": "import atexit\nfor i in range(3): atexit.register(print, i)\nprint('main')",
    "an exit function that fails": "import atexit\natexit.register(lambda: 1 / 0)\nprint('main')",
    "exit functions after an error": "import atexit\natexit.register(print, 'bye')\n1 / 0",
    "threads are joined": "import threading, time\n"
    "def f():\n    time.sleep(0.05); print('thread')\nthreading.Thread(target=f).start()\nprint('main')",
    "daemon threads are not": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nprint('main')",
    "an exception in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\nt.start()\nt.join()",
    "an executor finishes its work": "from concurrent.futures import ThreadPoolExecutor\nimport time\n"
    "ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.05), print('done')))",
    "an interrupt": "raise KeyboardInterrupt",
    "a caught interrupt": "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    while True: pass\n"
    "except KeyboardInterrupt:\n    print('caught')",
    "an alarm": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print('alarm'))\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "death by a signal": "import os\nos.kill(os.getpid(), 15)",
    "an abort": "import os\nos.abort()",
    "a segmentation fault": "import ctypes\nctypes.string_at(0)",
    "input and its prompt": "name = input('name? ')\nprint('hello', name)\nprint(input())\ninput()",
    "standard input as lines": "import sys\nfor line in sys.stdin: print(repr(line))",
    "standard input as bytes": "import sys\nprint(sys.stdin.buffer.read())",
    "what the module is": "'''Doc.'''\nimport sys\nprint(__name__, __doc__, __spec__, __package__, __cached__, __annotations__)\n"
    "x: int = 1\nprint(__annotations__, sys.modules['__main__'].x, type(__loader__).__name__, __builtins__)\n"
    "print(sorted(globals()), __file__ == sys.argv[0], sys.argv[1:], __file__)",
    "the interpreter's flags": "import sys\nprint(sys.flags, sys.stdin.encoding, sys.stdout.encoding, sys.stderr.errors,\n"
    "sys.stdin.errors, sys.stdout.errors, sys.getfilesystemencoding(), sys.stdout.line_buffering, sys.stdout.write_through,\n"
    "sys.executable, sys.prefix, sys.dont_write_bytecode)",
    "text beyond ASCII": "print('äöü € 😀'); import sys; sys.stderr.write('ä\\n'); print(open(__file__).read())",
    "what is no text": "print('\\ud800')",
    "latin-1 by declaration": "# -*- coding: latin-1 -*-\nprint('é')".encode("latin-1"),
    "a byte order mark": b"\xef\xbb\xbfprint(1)",
    "an empty program": "",
    "no newline at the end of output": "print('x', end='')",
    "its own exception hook": "import sys\nsys.excepthook = lambda t, v, tb: print('hook', t, v, tb.tb_lineno)\n1 / 0",
    "an exception hook that fails": "import sys\ndef hook(*a): raise ValueError('in hook')\nsys.excepthook = hook\n1 / 0",
    "a closed standard output": "import sys\nprint('a')\nsys.stdout.close()",
    "a replaced standard output": "import io, sys\nprint('a')\nsys.stdout = io.StringIO()\nprint('b')",
    "no standard output": "import sys\nsys.stdout = None\nprint('b')",
    "a broken standard output": "import os, sys\nsys.stdout = open('/dev/full', 'w')\nprint('b')",
    "a file left open gets its bytes": "import subprocess, sys, os\n"
    "if os.fork():\n    os.wait(); print(open('out').read())\nelse:\n    f = open('out', 'w'); f.write('data')",
    "a file held by a cycle gets its bytes": "import os\n"
    "if os.fork():\n    os.wait(); print(open('out').read())\nelse:\n"
    "    class A: pass\n    a = A(); a.me = a; a.f = open('out', 'w'); a.f.write('data'); del a",
    "objects say goodbye": "class A:\n    def __del__(self): print('gone')\na = A()\nprint('main')",
    "a finalizer": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')",
    "an error nobody can catch": "class A:\n    def __del__(self): 1 / 0\nA()\nprint('on')",
    "a forked child ends on its own": "import os, sys\nif os.fork() == 0: sys.exit(9)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "a forked child falls off the end": "import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\nelse: print('child')",
    "a subprocess": "import subprocess, sys\nprint(subprocess.run(['echo', 'x'], capture_output=True).stdout)\n"
    "print(subprocess.run([sys.executable, '-c', 'print(1+1)'], capture_output=True, text=True).stdout)",
    "a process pool, forked": "import multiprocessing as mp\ndef sq(x): return x * x\n"
    "if __name__ == '__main__':\n    with mp.get_context('fork').Pool(2) as p: print(p.map(sq, [1, 2, 3]))",
    "a process, spawned": "import multiprocessing as mp\ndef f(q): q.put(__name__)\n"
    "if __name__ == '__main__':\n    c = mp.get_context('spawn'); q = c.Queue(); p = c.Process(target=f, args=(q,))\n"
    "    p.start(); print(q.get()); p.join(); print(p.exitcode)",
    "a process from a fork server": "import multiprocessing as mp\ndef f(): print('in', __name__)\n"
    "if __name__ == '__main__':\n    p = mp.get_context('forkserver').Process(target=f); p.start(); p.join(); print(p.exitcode)",
    "a manager": "import multiprocessing as mp\n"
    "if __name__ == '__main__':\n    with mp.Manager() as m: d = m.dict(a=1); print(dict(d))",
    "asyncio": "import asyncio\nasync def main():\n    p = await asyncio.create_subprocess_exec('true')\n"
    "    return await asyncio.gather(p.wait(), asyncio.sleep(0.01, 7))\nprint(asyncio.run(main()))",
    "a pickled object of the program": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))",
    "the source of a function": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "a warning": "import warnings\nwarnings.warn('careful')\nassert 1",
    "logging": "import logging\nlogging.warning('w')\nlogging.info('i')",
    "an unbounded recursion": "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)",
    "annotations stay values": "def f(x: 1 + 1): pass\nprint(f.__annotations__)",
    "a socket to itself": "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
    "c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.send(b'x'); print(a.recv(1))",
    "sqlite": "import sqlite3\nprint(sqlite3.connect('a.db').execute('select 6*7').fetchone())",
}  # fmt: skip
ADDRESS = re.compile("0x[0-9a-f]+")
STDIN = "Ada\nsecond line ü\n".encode()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_behaves_as_under_a_fresh_python(run, tmp_path: Path, name: str) -> None:
    """Same output, same errors, same exit code."""
    code = PROGRAMS[name]
    source = code.encode() if isinstance(code, str) else code
    (tmp_path / "main.py").write_bytes(source)
    command = ["/usr/bin/python3", "-I", "-u", "-X", "utf8", str(tmp_path / "main.py"), "a b", "ü"]
    fresh = subprocess.run(command, input=STDIN, capture_output=True, cwd=tmp_path, check=False)

    warm = await run(code, "a b", "ü", stdin=STDIN)

    def told(text: bytes) -> str:
        return text.decode(errors="surrogateescape").replace(str(tmp_path / "main.py"), "/program/main.py")

    assert warm.stdout == told(fresh.stdout)
    assert ADDRESS.sub("0x", warm.stderr) == ADDRESS.sub("0x", told(fresh.stderr))
    assert warm.code == fresh.returncode


async def test_modules_beside_the_data_can_be_imported(run) -> None:
    """The working directory is on the path."""
    code = "open('helper.py', 'w').write('x = 5')\nimport helper, os, sys\nprint(helper.x, os.getcwd(), sys.path[0])"
    assert (await run(code)).stdout == "5 /mnt/data /mnt/data\n"


async def test_the_environment_is_what_was_asked_for(run) -> None:
    """Nothing of the service's or the zygote's own environment shows."""
    result = await run("import os\nprint(sorted(os.environ), os.environ['X'])", env={"X": "ü"})
    assert result.stdout == "['HOME', 'LANG', 'PATH', 'X'] ü\n"
