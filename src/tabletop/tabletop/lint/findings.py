"""What a check found."""

import re
from dataclasses import dataclass, field

_PLACED = re.compile(r"(?P<file>.+?):(?:(?P<line>\d+):)? (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake, or one thing that could be better."""

    file: str
    line: int
    """0 if it concerns the file, or the folder, as a whole."""
    message: str

    def __str__(self) -> str:
        """As a compiler writes it."""
        return f"{self.place}: {self.message}"

    @property
    def place(self) -> str:
        """Where it stands: `file:line`, or `file`."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @classmethod
    def of(cls, text: str) -> "Finding":
        """Read `file:line: message` or `file: message`, as the readers of bundles and charms write their errors."""
        match = _PLACED.fullmatch(text)
        if match is None:
            return cls("", 0, text)
        return cls(match["file"], int(match["line"] or 0), match["message"])


@dataclass(slots=True)
class Findings:
    """All that was found; the same is noted once."""

    errors: list[Finding] = field(default_factory=list[Finding])
    warnings: list[Finding] = field(default_factory=list[Finding])

    def error(self, where: str, message: str) -> None:
        """Note what makes it unusable, at `file:line`."""
        self._add(self.errors, Finding.of(f"{where}: {message}"))

    def error_text(self, text: str) -> None:
        """Note an error that names its place itself; none if that place has one already."""
        finding = Finding.of(text)
        if not any((one.file, one.line) == (finding.file, finding.line) for one in self.errors):
            self.errors.append(finding)

    def warning(self, where: str, message: str) -> None:
        """Note what could be better, at `file:line`."""
        self._add(self.warnings, Finding.of(f"{where}: {message}"))

    def _add(self, to: list[Finding], finding: Finding) -> None:
        if finding not in to:
            to.append(finding)
