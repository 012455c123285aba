"""Corpora into one: shards become the corpus that was never sharded, and nothing is lost or overwritten in silence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from systems import edited, system_corpus, system_set

from wmzoo import cli
from wmzoo.collect import collector
from wmzoo.collect.collector import Shard
from wmzoo.data.merging import merge
from wmzoo.data.store import costs_of, open_corpus, write_corpus
from wmzoo.errors import WmzooError

SETTINGS = ["steps=300", "environments=[hopper, gym-pendulum]", "levels=[random, noise]"]


def test_merged_shards_are_the_corpus_that_was_never_sharded(workdir, capsys):
    def collected(name, shard=None):
        wanted = collector.read("quickstart", [*SETTINGS, f"corpus={name}.h5"])
        return collector.collect(wanted, quiet=True, shard=shard)

    whole = open_corpus(collected("whole"))
    shards = [str(collected("many", Shard(number, 2))) for number in (1, 2)]
    assert cli.main(["data", "merge", *reversed(shards), "--to", "many", "--quiet"]) == 0
    assert "Next: wmzoo data info many.h5" in capsys.readouterr().out
    merged = open_corpus("many.h5")
    assert list(merged.sets) == list(whole.sets) and len(whole.sets) == 4
    for key, item in merged.sets.items():
        there = whole.sets[key]
        for name in ("sha256", "names", "states", "dt", "component", "bodies", "about"):
            assert getattr(item, name) == getattr(there, name)
        np.testing.assert_array_equal(item.episodes, there.episodes)
        np.testing.assert_array_equal(item.statistics, there.statistics)
    assert set(costs_of(merged.path)) == set(whole.sets)
    # The collection takes it for its own, and half of it for what it is.
    assert collected("many").name == "many.h5"
    merged.path.unlink()
    merge(shards[:1], workdir / "many", quiet=True)
    with pytest.raises(WmzooError, match="many.h5: lacks 2 of 4 sets, gym-pendulum/random first; merge all shards"):
        collected("many")


def test_sets_are_sorted_and_the_same_one_is_kept_once(workdir):
    a, b, c = (system_set(level=level, seed=i) for i, level in enumerate("abc"))
    write_corpus(workdir / "1.h5", [c, a], {"made": "first"})
    write_corpus(workdir / "2.h5", [b, a], {"made": "second"})
    merged = open_corpus(merge(["1.h5", "2.h5", "2.h5"], workdir / "new", quiet=True))
    assert list(merged.sets) == ["toy/a", "toy/b", "toy/c"] and merged.path.name == "new.h5"
    assert [part["about"]["made"] for part in merged.about["merged"]] == ["first", "second"]
    assert not costs_of(merged.path)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [({"component": "other"}, "component"), ({"dt": 1.0}, "dt"), ({"names": tuple("abcdef")}, "names")],
)
def test_two_sets_of_one_name_are_refused_and_told_what_to_do(workdir, changes, difference):
    item = system_set()
    write_corpus(workdir / "1.h5", [item], {})
    write_corpus(workdir / "2.h5", [dataclasses.replace(item, **changes)], {})
    with pytest.raises(WmzooError, match=rf"2.h5: its set toy/a is not that of 1.h5 \(different {difference}\); leave"):
        merge(["1.h5", "2.h5"], workdir / "new", quiet=True)


def test_what_is_refused_leaves_nothing(workdir, capsys):
    system_corpus(workdir / "1.h5")
    system_corpus(workdir / "2.h5", seed=5)
    for words, said in (
        (["1.h5", "none.h5", "--to", "new"], "none.h5: no such corpus"),
        (["1.h5", "--to", "2.h5"], "2.h5: is there already"),
        (["1.h5", "2.h5", "--to", "new"], "(different rows, episodes)"),
    ):
        assert cli.main(["data", "merge", *words]) == 2
        assert said in capsys.readouterr().err
    with edited(workdir / "2.h5") as file:
        file["sets/toy/a/data"][5, 0] += 1
    assert cli.main(["data", "merge", "2.h5", "--to", "new"]) == 2
    assert "set toy/a: its rows have changed" in capsys.readouterr().err
    (workdir / "1.h5.cost.json").write_text('{"seconds": [1]}')
    assert cli.main(["data", "merge", "1.h5", "--to", "third"]) == 2
    assert "1.h5.cost.json: is not what a collection wrote" in capsys.readouterr().err
    assert sorted(p.name for p in workdir.iterdir()) == ["1.h5", "1.h5.cost.json", "2.h5"]
