"""Variables of a session: what one run leaves, the next one has."""

import os
import pickle
import textwrap
import zlib

import pytest
import pytest_asyncio

from sandboxes.fake_script import Die, End, Recall, Remember, Wait
from sandboxes.protocol import Exit, Program, SandboxSpec, SavedState, StateOrder
from tests.sandboxes.bodies import LIMITS, MIB, Body, Result, Stand, finish

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Session:
    """Runs one after the other, each in a sandbox of its own, with nothing but bytes between them."""

    def __init__(self, body: Body, *, bytes_max: int = 4 * MIB, on_error: bool = False) -> None:
        self.body = body
        self.bytes_max = bytes_max
        self.on_error = on_error
        self.data: bytes | None = None
        self.last = SavedState()

    async def run(self, code: str, **limits: object) -> Result:
        sandbox = await self.body.acquire(code=code, **limits)
        try:
            order = StateOrder(self.data, self.bytes_max, self.on_error)
            result = await finish(sandbox, Program(textwrap.dedent(code), state=order))
            self.last = await sandbox.saved_state()
        finally:
            await sandbox.close()
        if self.last.data is not None:
            self.data = self.last.data
        return result

    async def ok(self, code: str) -> str:
        """Run code that must end well and save everything; returns what it printed."""
        result = await self.run(code)
        assert (result.exit.outcome, result.exit.exit_code) == ("exited", 0), result.stderr.decode()
        assert (result.stderr, self.last.note) == (b"", "")
        assert self.last.data is not None
        return result.stdout.decode()


@pytest_asyncio.fixture(loop_scope="session", params=["tier-A", "warm"])
async def local(request: pytest.FixtureRequest, stand: Stand) -> Body:
    """A cold start and a waiting child: the two ways in which Python starts."""
    return await stand(request.param)


@pytest.fixture
def session(local: Body) -> Session:
    return Session(local)


# What every body promises


async def test_a_variable_lives_on(body: Body) -> None:
    session = Session(body)
    one, two = [Remember("x", "kept")], [Recall("x")]
    if body.is_real:
        await session.run("x = 'kept'")
        assert (await session.run("print(x, end='')")).stdout == b"kept"
    else:
        await session.run(body.code(*one))
        assert (await session.run(body.code(*two))).stdout == b"kept"


async def test_without_an_order_nothing_is_saved(body: Body) -> None:
    sandbox = await body.acquire()
    await finish(sandbox, Program(body.code(End(0))))
    assert await sandbox.saved_state() == SavedState()
    await sandbox.close()


@pytest.mark.parametrize("end", [End(1), Die("SIGKILL"), Die("SIGTERM")])
async def test_a_run_that_does_not_end_well_saves_nothing(body: Body, end: object) -> None:
    session = Session(body)
    await session.run(body.code(end))
    assert session.last.data is None


async def test_a_run_past_its_time_saves_nothing(body: Body) -> None:
    session = Session(body)
    await session.run(body.code(Wait()), timeout_s=0.5)
    assert session.last.data is None


async def test_a_run_with_exit_code_1_saves_where_that_is_wanted(body: Body) -> None:
    session = Session(body, on_error=True)
    await session.run(body.code(End(1)))
    assert session.last.data is not None


async def test_a_cancelled_run_saves_nothing(body: Body) -> None:
    sandbox = await body.acquire()
    await sandbox.cancel()
    await finish(sandbox, Program(body.code(End(0)), state=StateOrder(None, MIB)))
    assert (await sandbox.saved_state()).data is None
    await sandbox.close()


# What Python can keep


async def test_all_kinds_of_values_live_on(session: Session) -> None:
    await session.ok(
        """
        import collections, dataclasses, datetime, decimal, enum, functools, re
        import os.path as where
        from math import floor as down

        @dataclasses.dataclass
        class Point:
            x: int
            def scaled(self): return self.x * factor

        class Colour(enum.Enum):
            RED = 1

        class Base:
            def who(self): return "base"

        class Derived(Base):
            total = 0
            def who(self): return "derived of " + super().who()
            @property
            def double(self): return 2 * self.n
            @staticmethod
            def fixed(): return 7
            @classmethod
            def made(cls): return cls()

        Pair = collections.namedtuple("Pair", "left right")
        factor = 3
        point, pair, thing = Point(4), Pair(1, "b"), Derived()
        thing.n = 21
        def power(base, exponent=2, *, plus=0): return base ** exponent + plus + factor
        def counter():
            count = 0
            def step():
                nonlocal count
                count += 1
                return count
            return step
        step = counter(); step()
        shout = lambda text: text.upper() + str(power(2))
        half = functools.partial(power, exponent=0.5)
        values = (None, True, 1 << 200, 1.5, 2j, b"bytes", bytearray(b"x"), "ünï", [1, [2]], {"k": {3}},
                  range(3), slice(1, 2), frozenset("a"), decimal.Decimal("0.1"),
                  datetime.date(2026, 1, 2), re.compile("a+"), collections.deque([1], maxlen=2), Ellipsis)
        _private = "kept too"
        """
    )
    printed = await session.ok(
        """
        factor = 10
        assert point == Point(4) and point.scaled() == 40, "methods see the variable of now"
        assert pair == Pair(1, "b") and Colour.RED is Colour(1)
        assert thing.who() == "derived of base" and thing.double == 42 and isinstance(thing, Base)
        assert Derived.fixed() == 7 and type(Derived.made()) is Derived
        assert power(2) == 14 and power(2, plus=1) == 15 and half(4) == 12
        assert step() == 2 and step() == 3, "closures keep what they count"
        assert shout("a") == "A14" and _private == "kept too"
        assert where.join("a", "b") == "a/b" and down(1.5) == 1
        assert power.__globals__ is globals()
        print(values)
        """
    )
    assert "frozenset({'a'})" in printed
    assert str(1 << 200) in printed


async def test_what_two_variables_share_they_share_again(session: Session) -> None:
    await session.ok("a = [1]\nb = a\nc = {'a': a}\nclass Node: pass\nn = Node(); n.me = n; n.list = a")
    await session.ok("a.append(2)\nassert b == [1, 2] and c['a'] is b and n.me is n and n.list is a")


async def test_functions_call_what_was_defined_anew_since(session: Session) -> None:
    await session.ok("def inner(): return 'old'\ndef outer(): return inner()")
    await session.ok("def inner(): return 'new'")
    assert await session.ok("print(outer())") == "new\n"


async def test_a_hundred_runs_build_upon_each_other(session: Session) -> None:
    await session.ok("total = 0\ndef add(n):\n    global total\n    total += n")
    for n in range(10):
        await session.ok(f"add({n})")
    assert await session.ok("print(total)") == "45\n"


async def test_deleted_is_deleted(session: Session) -> None:
    await session.ok("a, b = 1, 2")
    await session.ok("del a")
    assert await session.ok("print('a' in globals(), b)") == "False 2\n"


async def test_the_program_looks_as_ever(session: Session) -> None:
    """What the machinery needs is not in its way."""
    await session.ok("x = 1")
    printed = await session.ok(
        """
        import sys
        print(__name__, __file__.rpartition("/")[2], sys.argv[1:], type(__builtins__).__name__)
        print([name for name in sys.modules if "cloudpickle" in name or name.split(".")[0] == "guest"])
        """
    )
    assert printed.splitlines() == ["__main__ main.py [] module", "[]"]


async def test_an_error_is_shown_as_without_a_session(session: Session) -> None:
    result = await session.run("def f():\n    1 / 0\nf()")
    plain = await session.body.run("def f():\n    1 / 0\nf()")
    assert result.stderr == plain.stderr


async def test_what_threads_do_at_the_end_is_kept(session: Session) -> None:
    await session.ok(
        """
        import threading, time
        done = []
        def work():
            time.sleep(0.05)
            done.append("late")
        threading.Thread(target=work).start()
        """
    )
    assert await session.ok("print(done)") == "['late']\n"


async def test_sys_exit_0_is_a_good_end(session: Session) -> None:
    await session.ok("import sys\nx = 5\nsys.exit(0)")
    assert await session.ok("print(x)") == "5\n"


async def test_a_forked_child_saves_nothing(session: Session) -> None:
    await session.ok(
        "import os\nx = 'parent'\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: x = 'child'"
    )
    assert await session.ok("print(x)") == "parent\n"


# What it cannot keep


async def test_what_cannot_be_saved_is_named_and_the_rest_saved(session: Session) -> None:
    result = await session.run(
        """
        import socket, sqlite3, threading
        good = 1
        numbers = (n for n in range(3))
        file = open("/dev/null")
        link = socket.socket()
        lock = threading.Lock()
        nested = {"deep": [lock]}
        worker = threading.Thread(target=print)
        class Rude:
            def __reduce__(self): raise SystemExit("no")
        rude = Rude()
        def uses_it(): return next(numbers)
        """
    )
    assert result.exit.exit_code == 0
    for name in ("numbers", "file", "link", "lock", "nested", "worker", "rude"):
        assert f"{name} (" in session.last.note
        assert f"{name} (".encode() in result.stderr
    for name in ("good", "uses_it", "Rude", "threading"):
        assert f"{name} (" not in session.last.note
    assert await session.ok("print(good, 'numbers' in globals(), uses_it.__name__)") == "1 False uses_it\n"


async def test_too_much_is_not_saved_and_the_state_of_before_is_kept(local: Body) -> None:
    session = Session(local, bytes_max=MIB // 2)
    await session.ok("x = 'small'")
    result = await session.run("import os\nx = os.urandom(600_000)")
    assert (session.last.data, result.exit.exit_code) == (None, 0)
    assert "0.5 MiB" in session.last.note
    assert b"STATE_MAX_SIZE_MB" in result.stderr
    assert await session.ok("print(x)") == "small\n"


async def test_the_limit_is_on_what_is_left_after_compression(local: Body) -> None:
    session = Session(local, bytes_max=MIB // 2)
    await session.ok("x = b'a' * 4_000_000")
    assert await session.ok("print(len(x))") == "4000000\n"


async def test_variables_of_half_the_memory_can_be_kept(local: Body) -> None:
    """Saving and restoring hold no second copy."""
    session = Session(local)
    await session.ok("x = bytes(60 * 1024 * 1024)")
    assert await session.ok("print(len(x))") == f"{60 * MIB}\n"


async def test_a_module_that_is_gone_costs_only_what_needs_it(session: Session) -> None:
    await session.ok(
        """
        import pathlib, sys
        pathlib.Path("helper.py").write_text("class Thing:\\n    pass\\n")
        sys.path.insert(0, ".")
        import helper
        shared = [1]
        before = [shared]
        thing = helper.Thing()
        thing.shared = other = [2]
        with_thing = [thing]
        after = [shared, {"many": [3, 4]}]
        also = after
        """
    )
    result = await session.run(
        "print(before, after, shared is after[0], also is after, 'thing' in globals())"
    )
    assert result.stdout == b"[[1]] [[1], {'many': [3, 4]}] True True False\n"
    assert b"Not restored: helper (No module named 'helper'), thing (" in result.stderr
    assert b"with_thing (" in result.stderr


# What is no state at all


HOSTILE = {
    "empty": b"",
    "noise": os.urandom(5000),
    "text": b"hello",
    "a bare pickle": pickle.dumps({"x": 1}),
    "another Python": b"millrace-state-1 python 2.7 cloudpickle 3.1.2\n" + bytes(100),
    "another cloudpickle": b"millrace-state-1 python 3.11 cloudpickle 0.1\n" + bytes(100),
    "an endless line": b"millrace-state-1 " * 10_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_no_state_is_a_warning_and_a_fresh_start(session: Session, data: bytes) -> None:
    session.data = data
    result = await session.run("print('x' in globals())\nx = 2")
    assert (result.exit.exit_code, result.stdout) == (0, b"False\n")
    assert b"[session] The saved variables could not be restored" in result.stderr
    assert "could not be restored" in session.last.note
    assert await session.ok("print(x)") == "2\n"


async def test_who_wrote_what_cannot_be_read_is_named(session: Session) -> None:
    session.data = HOSTILE["another Python"]
    result = await session.run("")
    assert b"saved by Python 2.7 with cloudpickle 3.1.2, and this is Python 3." in result.stderr


async def test_no_damage_crashes_a_run(local: Body) -> None:
    """A state cut short, or with a byte changed, anywhere."""
    session = Session(local)
    await session.ok("import os\nx = list(range(300))\ny = os.urandom(500)\ndef f(): return x")
    whole = session.data
    assert whole is not None
    for step in range(1, 8):
        at = len(whole) * step // 8
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            session.data = data
            result = await session.run("print('alive')")
            assert (result.exit.exit_code, result.stdout) == (0, b"alive\n"), (at, result)


def state_of(head: bytes, pickled: bytes) -> bytes:
    """Return a well-formed state of one variable `x` with this pickle."""
    stream = b"\0\0\0\1x" + len(pickled).to_bytes(4, "big") + pickled + bytes(4) + bytes(4)
    body = zlib.compress(stream)
    return head + b"z" + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("pickled", "outcome"),
    [
        (b"cos\nsystem\n(S'echo loaded >&2'\ntR.", "exited"),
        (b"cbuiltins\nexit\n(tR.", "exited"),
        (b"cbuiltins\nno_such_name\n.", "exited"),
        (b"cos\nabort\n(tR.", "killed"),
        (b"ctime\nsleep\n(I1000\ntR.", "timed_out"),
        (b"cbuiltins\nbytearray\n(I2000000000\ntR.", None),
    ],
    ids=["a shell", "an exit", "a name that is not", "an abort", "a sleep", "much memory"],
)
async def test_a_hostile_state_does_what_code_could_and_no_more(
    session: Session, pickled: bytes, outcome: str | None
) -> None:
    """Whoever may write a state may run code: it is unpickled where code runs, and bounded like it."""
    await session.ok("x = 1")
    assert session.data is not None
    head = session.data[: session.data.index(b"\n") + 1]
    session.data = state_of(head, pickled)
    result = await session.run("print('ran')", timeout_s=3)
    assert outcome is None or result.exit.outcome == outcome
    if result.exit.outcome == "exited":
        assert result.stdout == b"ran\n"
    session.data = None
    await session.ok("x = 2")


async def test_a_program_that_writes_its_own_state_harms_only_itself(session: Session) -> None:
    await session.run(
        """
        import os
        folder = "/program/.state"
        os.symlink("/etc/passwd", folder + "/saved")
        os._exit(0)
        """
    )
    assert session.last.data is None
    await session.run("open('/program/.state/saved', 'wb').write(b'x' * 100)\nimport os; os._exit(0)")
    assert session.last.data == b"x" * 100
    result = await session.run("print('alive')")
    assert result.stdout == b"alive\n"


async def test_os_exit_leaves_the_state_of_before(session: Session) -> None:
    await session.ok("x = 1")
    await session.run("import os\nx = 2\nos._exit(0)")
    assert session.last.data is None
    assert "no time to save" in session.last.note


async def test_other_languages_take_no_notice(local: Body) -> None:
    sandbox = await local.sandboxes.acquire(SandboxSpec("x", "bash", LIMITS))
    result = await finish(sandbox, Program("echo hi", state=StateOrder(None, MIB)))
    assert (result.stdout, await sandbox.saved_state()) == (b"hi\n", SavedState())
    await sandbox.close()
    assert isinstance(result.exit, Exit)
