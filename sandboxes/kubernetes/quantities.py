"""Kubernetes quantities as numbers and back: what a language's factor multiplies."""

import math
from decimal import Decimal

_UNITS: dict[str, int] = {"": 1, "k": 1000, "K": 1000, "Ki": 1 << 10} | {
    unit: factor
    for power, letter in enumerate("MGTPE", start=2)
    for unit, factor in ((letter, 1000**power), (f"{letter}i", 1 << (10 * power)))
}


def bytes_of(quantity: str) -> int:
    """Return the bytes that a memory quantity such as `512Mi` means, rounded up."""
    digits = quantity.rstrip("KMGTPEik")
    return math.ceil(Decimal(digits) * _UNITS[quantity[len(digits) :]])


def times(quantity: str, factor: float) -> str:
    """Return a memory quantity times `factor`; as it was written where the factor is 1."""
    return quantity if factor == 1 else mebibytes(bytes_of(quantity) * factor)


def mebibytes(count: float) -> str:
    """Return so many bytes as a quantity of whole MiB, rounded up."""
    return f"{math.ceil(count / (1 << 20))}Mi"
