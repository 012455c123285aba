"""Measurements of reading: every way is measured, and all read the same rows."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import torch
from systems import system_corpus

from wmzoo import cli
from wmzoo.bench import data
from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_corpus
from wmzoo.data.store import open_corpus
from wmzoo.data.windows import mapped

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
    assert cli.main(["bench", "data", *SMALL, "--layouts", "--quiet"]) == 0
    assert "memory map, bare" in capsys.readouterr().out
    assert cli.main(["bench", "data", *SMALL, "--quiet", "--uri", ""]) == 0
    assert "waiting for data, of a step of 10 ms" in capsys.readouterr().out
    assert [path.name for path in workdir.iterdir()] == ["c.h5"]


def test_a_corpus_is_made_up_where_none_is_named(workdir):
    config = data.Config(megabytes=1, batches=2, repeats=1)
    warm, cold, waiting = data.bench(config, Machine(torch.device("cpu")), quiet=True)
    assert warm.floor > 0 and warm.reference > 0 and cold.ours > 0 and waiting.unit == "%"
    assert list(workdir.iterdir()) == []


def test_what_stays_mapped_is_bounded(workdir):
    corpus = open_corpus(made_corpus(workdir / "c.h5", 40))
    held = []
    for memory in (float("inf"), 8e6):
        loader = data.make_loader(corpus, data.Config(), memory)
        before = mapped()
        for number in range(40):
            loader[number]
        held.append(mapped() - before)
        assert sum(np.abs(loader[3][0].values.numpy()).sum() for _ in range(1)) > 0
    assert held[0] > 3e7 > 1.6e7 > held[1]
