"""The watch over hanging tests, tried on one that nothing else can end."""

from pathlib import Path

pytest_plugins = ["pytester"]

HANGS = """
    import asyncio
    import pytest

    @pytest.fixture
    async def stubborn():
        yield
        while True:
            try:
                await asyncio.sleep(1000)
            except BaseException:
                pass

    async def test_that_fails_and_then_hangs(stubborn):
        raise AssertionError("it failed")

    def test_of_another_worker():
        pass
"""


def test_a_teardown_that_waits_for_ever_ends_its_worker_and_is_named(pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest(
        f"""
        import sys
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.hanging import HangWatch

        def pytest_configure(config):
            config.pluginmanager.register(HangWatch(config, 1.0), "hang-watch")
        """
    )
    pytester.makepyfile(test_hangs=HANGS)
    result = pytester.runpytest_subprocess("-n", "1", "-p", "no:cacheprovider", timeout=100)
    result.stdout.fnmatch_lines(["*crashed while running*test_that_fails_and_then_hangs*"])
    result.stderr.fnmatch_lines(["*test_that_fails_and_then_hangs hangs since 1 s*", "*hangs.py:* stubborn"])
    result.assert_outcomes(passed=1, failed=2)
