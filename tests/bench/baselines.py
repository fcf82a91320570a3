"""What Millrace is measured against, in the same run: bare Python, cold bubblewrap, bare streams."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redis.asyncio
import uvloop
from measure import Samples, sample_command

PYTHON = "/usr/bin/python3"
PRINT = [PYTHON, "-c", "print(1)"]
_FLAGS = "--unshare-all --die-with-parent --new-session --clearenv --proc /proc --dev /dev"
_BINDS = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64"
_FOLDERS = "--tmpfs /tmp --tmpfs /mnt/data --chdir /mnt/data"
COLD = ["bwrap", *_FLAGS.split(), *_BINDS.split(), *_FOLDERS.split(), *PRINT]
"""The least one would do by hand to run a line of Python away from the host."""


def bare_python(count: int) -> Samples:
    """`python3 -c 'print(1)'`, started and waited for."""
    return sample_command(PRINT, count)


def cold_throughput(seconds: float, workers: int) -> float:
    """Return cold bubblewrap runs per second with `workers` at once."""
    return throughput(COLD, seconds, workers)


def throughput(command: list[str], seconds: float, workers: int) -> float:
    """Return how often `command` can be run in a second with `workers` at once."""
    until = time.perf_counter() + seconds
    counts = [0] * workers

    def work(index: int) -> None:
        while time.perf_counter() < until:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


def stream_round_trip(url: str, count: int) -> Samples:
    """One XADD there and one back through a consumer group, between two processes, in bare redis-py."""
    with echoing(url):
        return uvloop.run(_there_and_back(url, count))


@contextmanager
def echoing(url: str) -> Iterator[None]:
    """Have what comes to `bench:there` answered on `bench:back` by another process."""
    with redis.Redis.from_url(url) as client:
        client.delete("bench:there", "bench:back")
        client.xgroup_create("bench:there", "g", "0", mkstream=True)
        echo = subprocess.Popen([sys.executable, str(Path(__file__).with_name("echo.py")), url])
        try:
            while echo.poll() is None and not client.xinfo_consumers("bench:there", "g"):
                time.sleep(0.02)
            yield
        finally:
            echo.terminate()
            echo.wait()
            client.delete("bench:there", "bench:back")


async def _there_and_back(url: str, count: int) -> Samples:
    client = redis.asyncio.Redis.from_url(url)
    last, taken = "0", []
    for _ in range(count + 100):
        begin = time.perf_counter()
        await client.xadd("bench:there", {"data": b'{"id":"1"}'}, maxlen=1000)
        ((_, entries),) = await client.xread({"bench:back": last}, block=10_000)
        last = entries[-1][0]
        taken.append((time.perf_counter() - begin) * 1000)
    await client.aclose()
    return Samples(taken[100:])


def is_here(program: str) -> bool:
    """Whether `program` is an executable of the system."""
    return any((Path(folder) / program).exists() for folder in ("/usr/bin", "/bin", "/usr/local/bin"))
