"""``wmzoo ls`` and ``wmzoo show``: what there is, and what each thing can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wmzoo import compat, evaluation, recipe, registry
from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.data import sources
from wmzoo.errors import WmzooError, nearest
from wmzoo.progress import console

# Names of the columns, and the rows.
_Section = tuple[Sequence[str], Sequence[Sequence[str]]]


def print_list(kind: str = "") -> None:
    """Print every part, recipe, environment, protocol and corpus; imports none of them.

    Args:
        kind: one section in full; "" prints all of them, and the environments by component alone.

    Raises:
        WmzooError: there is no such section.
    """
    sections = _sections(in_full=bool(kind))
    if kind and kind not in sections:
        raise WmzooError(f'ls: nothing is listed under "{kind}". {nearest(kind, sections)}')
    for title in [kind] if kind else sections:
        columns, rows = sections[title]
        _print(console(), title, columns, rows)


def _sections(in_full: bool) -> dict[str, _Section]:
    """The columns and rows of each section."""
    parts = {
        kind: [(c.name, c.status, c.summary, c.paper) for c in registry.cards() if c.kind == kind]
        for kind in registry.KINDS
    }
    corpora = [(str(p), f"{p.stat().st_size / 1e6:.1f} MB") for p in sorted(Path("corpora").glob("**/*.h5"))]
    named = ("name", "what")
    return {
        **{kind: (("name", "status", "what", "paper"), rows) for kind, rows in parts.items()},
        "recipes": (named, [(n, first_comment(p)) for n, p in recipe.names().items()]),
        "data recipes": (named, [(n, first_comment(p)) for n, p in recipe.data_names().items()]),
        "formats": (named, list(sources.formats().items())),
        "environments": _environments() if in_full else _components(),
        "protocols": (named, list(evaluation.protocols().items())),
        "corpora": (("file", "size"), corpora or [("none here", "make one: wmzoo data collect quickstart")]),
    }


def _environments() -> _Section:
    rows = [(e.name, e.component, "held out" if e.held_out else "", e.summary) for e in ENVIRONMENTS.values()]
    return ("name", "component", "", "what"), rows


def _components() -> _Section:
    """The environments counted by component, with one name of each."""
    rows = []
    for component, found in groupby(sorted(ENVIRONMENTS.values(), key=lambda e: e.component), lambda e: e.component):
        members = list(found)
        held_out = sum(e.held_out for e in members)
        names = ", ".join(e.name for e in members[:3]) + (", ..." if len(members) > 3 else "")
        rows.append((component, str(len(members)), str(held_out) if held_out else "", names))
    return ("component", "count", "held out", "names (all: wmzoo ls environments)"), rows


def _print(out: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    out.print(table)
    out.print()


def first_comment(path: Path) -> str:
    """The first line of a recipe's comment: what it is."""
    lines = path.read_text().splitlines()
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""


def print_card(name: str) -> None:
    """Print the card of a part, a recipe or a protocol.

    Args:
        name: a name, or ``kind/name`` where a name is used more than once; or ``compat``, the switch.

    Raises:
        WmzooError: there is no such thing.
    """
    out = console()
    cards = [c for c in registry.cards() if name in (c.name, f"{c.kind}/{c.name}")]
    recipes = {**recipe.names(), **recipe.data_names("data/")}
    for card in cards:
        _print_part(out, card)
    if name == "compat":
        return _print_compat(out)
    if name in recipes:
        out.print(f"[bold]recipe {name}[/bold]  {recipes[name]}\n", highlight=False)
        out.print(recipes[name].read_text(), markup=False, highlight=False)
    protocols = evaluation.protocols()
    if name in protocols:
        _print_protocol(out, name)
    elif not cards and name not in recipes:
        known = {c.name for c in registry.cards()} | set(recipes) | set(protocols)
        raise WmzooError(f'nothing is called "{name}". {nearest(name, known)}')


def _print_part(out: Console, card: registry.Card) -> None:
    part = registry.find(card.kind, card.name)
    out.print(f"[bold]{card.kind[:-1]} {card.name}[/bold]  {card.path}", highlight=False)
    out.print((part.module_doc or card.summary) + "\n", markup=False, highlight=False)
    _print_settings(out, part.config)
    if part.presets:
        _print(out, "sizes", ("size", "settings"), [(s, str(v)) for s, v in part.presets.items()])
    if part.official:
        changes = _changes(part.config, part.official)
        changes += _changes(recipe.TrainConfig, part.official_train, "train.")
        _print(out, "compat: official changes", COMPAT_COLUMNS, changes)


def _print_settings(out: Console, config: type) -> None:
    rows = []
    for field in dataclasses.fields(config):
        about = field.metadata
        limits = " | ".join(about.get("choices") or ()) or _limits(about.get("low"), about.get("high"))
        made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = made.name if isinstance(made, recipe.Choice) else str(made)
        unit, symbol = about.get("unit", ""), about.get("symbol", "")
        rows.append((field.name, default, unit, symbol, limits, about["help"]))
    columns = ("setting", "default", "unit", "symbol", "allowed", "what")
    _print(out, "settings", columns, rows or [("none", "", "", "", "", "")])


def _print_protocol(out: Console, name: str) -> None:
    module = evaluation.find(name)
    out.print(f"[bold]protocol {name}[/bold]", highlight=False)
    out.print((module.__doc__ or "") + "\n", markup=False, highlight=False)
    _print_settings(out, module.Config)


COMPAT_COLUMNS = ("setting", "corrected", "official", "what")


def _changes(config: type, official: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """What the switch changes: the settings with both their values."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    return [
        (prefix + name, str(fields[name].default), str(value), fields[name].metadata["help"])
        for name, value in official.items()
    ]


def _print_compat(out: Console) -> None:
    """Print the card of the switch itself."""
    out.print((compat.__doc__ or "") + "\n", markup=False, highlight=False)
    rows = _changes(recipe.DataConfig, compat.SECTIONS["data"], "data.")
    rows += _changes(recipe.TrainConfig, compat.SECTIONS["train"], "train.")
    for card in registry.cards():
        part = registry.find(card.kind, card.name)
        rows += _changes(part.config, part.official, f"{card.name}.")
        rows += _changes(recipe.TrainConfig, part.official_train, f"{card.name}: train.")
    _print(out, "settings", COMPAT_COLUMNS, rows)
    behaviour = [(name, *both) for name, both in compat.BEHAVIOUR.items()]
    _print(out, "behaviour", ("of", "corrected", "official"), behaviour)


def _limits(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f">= {low:g}" if high is None else f"{low:g} to {high:g}"
