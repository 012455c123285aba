"""Measurements of reading: every way is measured, and all read the same rows."""

from __future__ import annotations

import contextlib
import json

import numpy as np
from systems import system_corpus

from wmzoo import cli
from wmzoo.bench import data
from wmzoo.data.store import open_corpus

SMALL = ["corpus=c.h5", "batches=3", "batch=4", "repeats=2", "window=5"]


def test_all_ways_read_the_same_rows(workdir):
    corpus = open_corpus(system_corpus(workdir / "c.h5"))
    config = data.settings_of(data.Config, SMALL)
    with contextlib.ExitStack() as files:
        ours, *others = data._ways(corpus, config, workdir, True, files, True)
        window, _ = ours.read(1)
        wanted = window.values.numpy()
        assert len(others) == 6 and window.valid.any()
        for way in others:
            for row, valid, own in zip(wanted, window.valid.numpy(), way.read(1), strict=True):
                np.testing.assert_array_equal(own[-valid.sum() :], row[valid], err_msg=way.name)


def test_the_bench_is_a_table_or_json_and_leaves_nothing(workdir, capsys):
    system_corpus(workdir / "c.h5")
    assert cli.main(["bench", "data", *SMALL, "--layouts", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 7 and all(0 < r[s]["least"] <= r[s]["median"] for r in found for s in ("warm", "cold"))
    assert cli.main(["bench", "data", *SMALL, "--quiet"]) == 0
    assert "memory map, bare" in capsys.readouterr().out
    assert [path.name for path in workdir.iterdir()] == ["c.h5"]
    assert cli.main(["bench", "data", "corpus=none.h5"]) == 2
    assert "none.h5: no such corpus" in capsys.readouterr().err
