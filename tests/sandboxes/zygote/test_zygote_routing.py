"""Which zygote a program is sent to, by a look at its imports."""

import pytest

from sandboxes.local.zygote_routing import flavour_of


@pytest.mark.parametrize(
    "code",
    [
        "import numpy",
        "import numpy as np",
        "import os, pandas as pd",
        "from matplotlib import pyplot",
        "from numpy.random import rand",
        "def f():\n    import matplotlib.pyplot as plt",
        "if True: pass\nimport os; import numpy",
        "import seaborn",
        "from sklearn.svm import SVC",
        "pd = __import__('pandas')",
        "import importlib\nimportlib.import_module('numpy.linalg')",
        "\timport\tnumpy  # tabs",
    ],
)
def test_what_needs_the_data_libraries_goes_to_the_heavy_one(code: str) -> None:
    """However the import is written."""
    assert flavour_of(code) == "heavy"


@pytest.mark.parametrize(
    "code",
    [
        "",
        "print(1)",
        "import json, math",
        "x = 'numpy'",
        "# import numpy",
        "import numpyish",
        "from . import numpy",
    ],
)
def test_what_does_not_goes_to_the_plain_one(code: str) -> None:
    """A mention is not an import."""
    assert flavour_of(code) == "plain"


def test_without_a_heavy_zygote_everything_is_plain() -> None:
    """There is nowhere else to go."""
    assert flavour_of("import numpy", ()) == "plain"


def test_a_large_program_is_looked_at_quickly() -> None:
    """The patterns do not backtrack: a megabyte of awkward text is no attack."""
    assert flavour_of("import " + " " * 500_000 + "\n" + "from \t" * 100_000) == "plain"
