"""The Python that people expect: its packages work, warm and cold, whoever guessed what a program imports."""

import os
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from infra.cache_folder import cache_folder
from sandboxes.guest_environment import guest_folder
from sandboxes.toolchains import find_toolchains, find_tools
from tests.sandboxes.bodies import MIB, Body, Result, standing
from tests.sandboxes.test_state import Session

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = 512 * MIB
FIGURE = "\n".join(
    [
        "{use}",
        "plt.plot([1, 2]); plt.title('ü')",
        "plt.show()",
        "plt.figure(); plt.bar([1], [2])",
        "plt.figure(); plt.pie([1, 2])",
        "plt.show()",
    ]
)
PROGRAMS = {
    "numpy": ("import numpy as np\nprint(np.linalg.inv(np.eye(2) * 2)[0, 0])", "0.5"),
    "pandas": (
        "import pandas as pd\nframe = pd.DataFrame({'a': [1, 2]})\n"
        "frame.to_excel('x.xlsx'); frame.to_csv('x.csv')\n"
        "print(frame.a.mean(), pd.read_excel('x.xlsx').shape, pd.read_csv('x.csv').shape)",
        "1.5 (2, 2) (2, 2)",
    ),
    "scipy": (
        "from scipy import optimize\nprint(round(optimize.brentq(lambda x: x * x - 2, 0, 2), 3))",
        "1.414",
    ),
    "sklearn": (
        "from sklearn.linear_model import LinearRegression\n"
        "print(LinearRegression().fit([[0], [1]], [0, 2]).coef_.round(3))",
        "[2.]",
    ),
    "sympy": ("import sympy\nx = sympy.Symbol('x')\nprint(sympy.integrate(x**2, x))", "x**3/3"),
    "openpyxl": (
        "import openpyxl\nbook = openpyxl.Workbook(); book.active['A1'] = 7; book.save('b.xlsx')\n"
        "print(openpyxl.load_workbook('b.xlsx').active['A1'].value)",
        "7",
    ),
    "pillow": (
        "from PIL import Image\nImage.new('RGB', (8, 4), 'red').save('p.png')\n"
        "print(Image.open('p.png').size)",
        "(8, 4)",
    ),
    "requests": (
        "import requests\ntry: requests.get('http://example.org', timeout=5)\n"
        "except requests.ConnectionError: print('no network')",
        "no network",
    ),
}


COLD = pytest.param("tier-A", marks=pytest.mark.languages)
"""Every import anew: in `make test` warm Python shows that the packages work."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["warm", COLD])
async def body(request: pytest.FixtureRequest) -> AsyncIterator[Body]:
    caches = cache_folder(os.environ)
    if not guest_folder(find_tools(os.geteuid())["py"], caches).is_dir():
        pytest.skip("no guest environment here; `make guest` installs it")
    heavy = {"warm_heavy": 1} if request.param == "warm" else {}
    sandboxes = await standing(request.param, partial(find_toolchains, caches=caches), **heavy)
    yield Body(request.param, sandboxes)
    await sandboxes.close()


async def run(body: Body, code: str, language: str = "py") -> Result:
    return await body.run(code, language=language, memory_bytes_max=ROOM, timeout_s=60.0)


@pytest.mark.parametrize("package", PROGRAMS)
async def test_a_package_does_its_work(body: Body, package: str) -> None:
    code, said = PROGRAMS[package]
    result = await run(body, code)
    assert (result.stdout.decode().strip(), result.stderr) == (said, b"")


@pytest.mark.parametrize(
    "use",
    [
        "import matplotlib.pyplot as plt",
        "plt = __import__('importlib').import_module('matplot' + 'lib.pyplot')",
        "import matplotlib; matplotlib.use('Agg'); from matplotlib import pyplot as plt",
    ],
    ids=["plainly", "past the guess", "with a backend"],
)
async def test_show_saves_every_open_figure(body: Body, use: str) -> None:
    result = await run(body, FIGURE.format(use=use))
    assert result.stderr == b""
    assert sorted(result.files) == ["figure-1.png", "figure-2.png", "figure-3.png"]
    assert all(content.startswith(b"\x89PNG") for content in result.files.values())


async def test_bash_has_the_same_python(body: Body) -> None:
    code = "python3 -c 'import matplotlib.pyplot as plt; plt.plot([1]); plt.show()'; ls"
    assert (await run(body, code, "bash")).stdout == b"figure-1.png\n"


async def test_siblings_draw_different_numbers(body: Body) -> None:
    drawn = {(await run(body, "import numpy\nprint(numpy.random.rand())")).stdout for _ in range(3)}
    assert len(drawn) == 3


async def test_data_frames_and_fitted_models_live_on(body: Body) -> None:
    session = Session(body, bytes_max=16 * MIB)
    first = await session.run(
        """
        import numpy as np, pandas as pd
        from sklearn.linear_model import LinearRegression
        frame = pd.DataFrame({"x": range(5), "y": [2.0 * n + 1 for n in range(5)]})
        view = frame["x"].to_numpy()
        model = LinearRegression().fit(frame[["x"]], frame["y"])
        def predict(x): return float(model.predict(pd.DataFrame({"x": [x]}))[0])
        """,
        memory_bytes_max=ROOM,
        timeout_s=60.0,
    )
    assert (first.stderr, session.last.note) == (b"", "")
    second = await session.run(
        "print(round(predict(10)), frame.y.sum(), np.sum(view))", memory_bytes_max=ROOM, timeout_s=60.0
    )
    assert second.stdout == b"21 25.0 10\n", second.stderr
