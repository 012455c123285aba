"""What is seen of a grid: the table, the lines, the time left."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console
from systems import toy_recipe

from wmzoo.cost import Cost
from wmzoo.files import write_json
from wmzoo.gridrun import state, view
from wmzoo.gridrun.plan import Cell
from wmzoo.gridrun.schedule import DONE, ELSEWHERE, FAILED, RUNNING, Track
from wmzoo.recipe import Source, check


@pytest.fixture
def tracks(workdir):
    """Six cells of ten estimated seconds, all waiting."""
    cost = Cost(parameters=5, tokens=1, flops=100, memory=1)
    recipes = [check(Source(toy_recipe(seed=seed), {})) for seed in range(6)]
    return [Track(Cell(recipe=recipe, manifest="0" * 64, cost=cost, seconds=10.0)) for recipe in recipes]


def test_the_time_left_follows_estimates_then_what_was_seen(tracks):
    assert view.time_left(tracks, 2, 100.0) == pytest.approx(30.0)
    for track in tracks[:2]:  # they took twice as long as was thought
        track.status, track.began, track.ended = DONE, 100.0, 120.0
    assert view.time_left(tracks, 2, 120.0) == pytest.approx(40.0)
    tracks[2].status, tracks[2].began = RUNNING, 120.0
    write_json(
        tracks[2].cell.folder / state.PROGRESS,
        {"title": "trajworld", "done": 10, "total": 20, "text": "", "began": 120.0},
    )
    assert view.time_left(tracks, 1, 150.0) == pytest.approx(30 + 60), "its own progress counts for more"
    for track in tracks[3:]:
        track.handle = object()  # in the queue of a cluster
    assert view.time_left(tracks, 10_000, 150.0) == pytest.approx(30 + 60), "what waits there finds no room yet"
    unknown = [dataclasses.replace(t, cell=dataclasses.replace(t.cell, seconds=None), status="waiting") for t in tracks]
    assert view.time_left(unknown, 2, 0.0) == 0.0


def test_the_table_shows_failures_first_where_there_is_no_room(tracks, monkeypatch):
    tracks[4].status, tracks[4].words = FAILED, "the disk is full"
    tracks[5].status = ELSEWHERE
    screen = Console(file=io.StringIO(), width=80, height=12, force_terminal=True, color_system=None)
    monkeypatch.setattr(view, "console", lambda: screen)
    shown = view.View(quiet=False, slots=2)
    with shown.shown(tracks) as draw:
        draw()
    text = screen.file.getvalue()
    assert "the disk is full" in text and "elsewhere" in text and "and 2 more" in text
    assert "1 failed, 1 elsewhere, 4 waiting; about" in text


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert view.duration(seconds) == text
