"""Prometheus' text format, version 0.0.4: what is needed of it to write metrics.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Mapping
from typing import Literal

from iot_gateway.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]


class Exposition:
    """Collects metric families, and writes them."""

    def __init__(self):
        self._lines: list[str] = []

    def family(self, name: str, kind: Kind, help_text: str) -> "Family":
        """Begin a family; its samples follow before the next begins."""
        self._lines += (f"# HELP {name} {_escaped(help_text)}", f"# TYPE {name} {kind}")
        return Family(name, self._lines)

    def single(self, name: str, kind: Kind, help_text: str, value: float) -> None:
        """Add a family of one sample without labels."""
        self.family(name, kind, help_text).add(value)

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self._lines) + "\n"


class Family:
    """Samples of one name."""

    def __init__(self, name: str, lines: list[str]):
        self._name = name
        self._lines = lines

    def add(self, value: float, **labels: str) -> None:
        """Add a sample."""
        self._lines.append(f"{self._name}{_labels(labels)} {_number(value)}")

    def add_histogram(self, histogram: Histogram, **labels: str) -> None:
        """Add the samples of a histogram: cumulative counts by bound, sum and count."""
        total = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            total += count
            self._lines.append(f"{self._name}_bucket{_labels({**labels, 'le': _number(bound)})} {total}")
        self._lines.append(f"{self._name}_sum{_labels(labels)} {_number(histogram.sum)}")
        self._lines.append(f"{self._name}_count{_labels(labels)} {total}")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
