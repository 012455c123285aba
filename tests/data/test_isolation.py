"""A file that brings its reader down brings nothing else down."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from wmzoo.data import isolation


def counts(path):
    yield from range(3)


def crashes(path):
    yield 1
    os.abort()


def raises(path):
    yield 1
    raise KeyError("observations")


def hangs(path):
    yield 1
    time.sleep(60)


@pytest.mark.parametrize(
    ("read", "error", "said"),
    [(crashes, OSError, "crashed"), (raises, KeyError, "observations"), (hangs, OSError, "nothing came of it")],
)
def test_what_goes_wrong_is_an_error_here(monkeypatch, read, error, said):
    monkeypatch.setattr(isolation, "PATIENCE", 2.0 if read is hangs else 60.0)
    items = isolation.isolated(read, Path("x"))
    assert next(items) == 1
    with pytest.raises(error, match=said):
        next(items)
    assert not multiprocessing.active_children()


def test_all_comes_in_order_and_stopping_early_leaves_no_process():
    assert list(isolation.isolated(counts, Path("x"))) == [0, 1, 2]
    items = isolation.isolated(counts, Path("x"))
    next(items)
    items.close()
    assert not multiprocessing.active_children()
