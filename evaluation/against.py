"""What the rows of a table are beside one of them: differences, intervals and marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation.comparison import Picture
from wmzoo.evaluation.paired import LEVEL, Difference, Group, difference, holm
from wmzoo.evaluation.tables import Grid

RULES = (
    "vs {name}: a row minus {name} (below 0: lower), run by run of the same seeds and episode by episode where both "
    "rows have them, with a 95 % interval: Student's t over seeds, bootstrap over {resampled}. *: p < 0.05 after "
    "Holm's correction for {count} rows; no mark for a row of one seed, as another seed may turn it."
)
UNPAIRED = "Other seeds than {name}'s, so not paired by seed: {rows}."


@dataclass(frozen=True, kw_only=True)
class Against:
    """A difference and its significance among the rows of its column."""

    found: Difference
    p: float | None

    @property
    def mark(self) -> str:
        """``*`` where the difference is significant."""
        return "*" if self.p is not None and self.p < LEVEL else ""


Column = Sequence[Against | None]
PANELS = {"nmae (in)": "level trained on", "OOD nmae": "levels not trained on"}


def place(titles: Sequence[str], labels: Sequence[str], baseline: str) -> int:
    """Which row is the baseline.

    Args:
        titles: of the rows, each once.
        labels: of the same rows, which are shorter.
        baseline: a title or a label.

    Raises:
        WmzooError: there is no such row, or several.
    """
    found = [i for i, title in enumerate(titles) if title == baseline]
    found = found or [i for i, label in enumerate(labels) if label == baseline]
    if not found:
        raise WmzooError(f'--baseline: no row "{baseline}". {nearest(baseline, titles)}')
    if len(found) > 1:
        raise WmzooError(f'--baseline: "{baseline}" is {" and ".join(titles[i] for i in found)}; name one of them.')
    return found[0]


def column(groups: Sequence[Group | None], baseline: int) -> Column:
    """Every row minus the baseline; None for the baseline itself and where either has no number.

    Args:
        groups: what the rows measured, None where there is nothing.
        baseline: its place.
    """
    base = groups[baseline]
    found = [
        None if base is None or group is None or i == baseline else difference(group, base)
        for i, group in enumerate(groups)
    ]
    corrected = holm([None if one is None else one.p for one in found])
    return [None if one is None else Against(found=one, p=p) for one, p in zip(found, corrected, strict=True)]


def grid(
    title: str,
    titles: Sequence[str],
    models: int,
    baseline: int,
    columns: Mapping[str, Column],
    show: Callable[[Difference], str],
) -> Grid:
    """The table of differences.

    Args:
        title: what comes before the name of the baseline.
        titles: of the rows.
        models: how many of them, the first, are models.
        baseline: its place.
        columns: by head.
        show: writes a difference with its interval.
    """
    cells = [
        [title, *("-" if one[i] is None else _cell(one[i], show) for one in columns.values())]
        for i, title in enumerate(titles)
        if i != baseline
    ]
    heads = ("", *columns)
    named = f"{title}vs {titles[baseline]}: paired differences"
    return Grid(title=named, heads=heads, rows=cells, bold=set(), models=models - (baseline < models))


def _cell(one: Against | None, show: Callable[[Difference], str]) -> str:
    assert one is not None
    return show(one.found) + one.mark


def caption(titles: Sequence[str], baseline: int, columns: Sequence[Column], resampled: str) -> list[str]:
    """What the differences are.

    Args:
        titles: of the rows.
        baseline: its place.
        columns: of differences.
        resampled: what the bootstrap resamples, in a few words.
    """
    name = titles[baseline]
    count = max(sum(one is not None and one.p is not None for one in found) for found in columns)
    unpaired = {titles[i]: 0 for found in columns for i, one in enumerate(found) if one and not one.found.paired}
    said = [RULES.format(name=name, resampled=resampled, count=count)]
    return said + ([UNPAIRED.format(name=name, rows=", ".join(unpaired))] if unpaired else [])


def line(name: str, metric: str, one: Against | None) -> dict[str, object]:
    """The columns of a CSV file's line.

    Args:
        name: of the baseline.
        metric: of the difference.
        one: the difference, if there is one.
    """
    found, head = (one.found, one.p) if one else (None, None), f"{metric}_vs_baseline"
    ends = (None, None, None) if found[0] is None else (found[0].mean, found[0].low, found[0].high)
    names = (head, f"{head}_low", f"{head}_high", f"{head}_p")
    return {"baseline": name, **dict(zip(names, (*ends, found[1]), strict=True))}


def picture(
    titles: Sequence[str], baseline: int, panels: Mapping[str, Column], unit: str = "", of: str = ""
) -> dict[str, Picture]:
    """The differences as a picture, by the name of its file.

    Args:
        titles: of the rows.
        baseline: its place.
        panels: columns by what they show.
        unit: of all of them, if they share one.
        of: the environment, where there are several.
    """

    def draw(path: Path) -> None:
        from wmzoo.evaluation import difference_figure  # matplotlib is slow to import

        difference_figure.draw(titles, titles[baseline], panels, unit, path)

    what = f"differences from {titles[baseline]}" + (f" in {of}" if of else "")
    return {f"differences-{of}.png" if of else "differences.png": Picture(what, draw)}
