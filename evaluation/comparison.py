"""What a protocol makes of many runs: tables, lines of a CSV file and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmzoo.evaluation.tables import Grid


@dataclass(frozen=True)
class Picture:
    """A picture of a comparison.

    Attributes:
        what: it shows, in a few words.
        draw: writes the PNG.
    """

    what: str
    draw: Callable[[Path], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A comparison that is ready to be shown.

    Attributes:
        short: tables for a terminal.
        full: the same for a file.
        caption: what they show, in paragraphs.
        lines: of the CSV file, by column.
        pictures: by the name of the file.
    """

    short: Sequence[Grid]
    full: Sequence[Grid]
    caption: Sequence[str]
    lines: Sequence[Mapping[str, object]]
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    def widened(self, other: Comparison) -> Comparison:
        """As :meth:`beside`, for another of the same lines: each becomes one with the columns of both."""
        joined = [{**mine, **theirs} for mine, theirs in zip(self.lines, other.lines, strict=True)]
        return dataclasses.replace(self.beside(other), lines=joined)

    def beside(self, other: Comparison) -> Comparison:
        """This one with the tables, paragraphs, lines and pictures of another behind its own."""
        return Comparison(
            short=[*self.short, *other.short],
            full=[*self.full, *other.full],
            caption=[*self.caption, *other.caption],
            lines=[*self.lines, *other.lines],
            pictures={**self.pictures, **other.pictures},
        )
