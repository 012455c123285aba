"""Parts of corpora: nested, reproducible, and never at the cost of the test episodes; and out to Minari again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from systems import planted_episode, system_corpus, system_set, toy_recipe

from wmzoo import cli
from wmzoo.data import checking, exporting, importing
from wmzoo.data.store import digest, open_corpus, write_corpus
from wmzoo.data.subset import choose_episodes, subset
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check, parse_overrides
from wmzoo.runs import prepare


def corpus(workdir):
    items = [
        system_set(level="a", episodes=40, component="jat"),
        system_set(level="b", seed=1, component="jat"),
        system_set(environment="other", seed=2, component="dmc"),
    ]
    write_corpus(workdir / "toy.h5", items, {"made": "for a test"})
    return workdir / "toy.h5"


def test_a_smaller_share_is_a_part_of_a_larger_one():
    everything, a, b = np.arange(7, 107), system_set(level="a"), system_set(level="b")
    small, large = (set(choose_episodes(a, everything, share, 0).tolist()) for share in (0.1, 0.5))
    assert len(small) == 10 and len(large) == 50 and small < large <= set(everything.tolist())
    assert set(choose_episodes(b, everything, 0.1, 0)) != small
    assert len(choose_episodes(a, everything, 0.001, 0)) == 1
    assert choose_episodes(a, everything, 1.0, 0) is everything


def test_a_subset_holds_the_episodes_as_they_were(workdir):
    path = corpus(workdir)
    made = open_corpus(subset(str(path), workdir / "part", ["fraction=0.25", "include=[toy/*]", "exclude=[toy/b]"]))
    assert list(made.sets) == ["toy/a"] and made.about["subset"]["fraction"] == 0.25
    whole, part = open_corpus(path).sets["toy/a"], made.sets["toy/a"]
    rows = {whole.rows(i).tobytes() for i in range(len(whole.lengths))}
    assert len(part.lengths) == 10 and all(part.rows(i).tobytes() in rows for i in range(10))
    again = open_corpus(subset(str(path), workdir / "again", ["fraction=0.25", "include=[toy/a]"]))
    assert again.sets["toy/a"].sha256 == part.sha256
    tiny = open_corpus(subset(str(path), workdir / "tiny", ["fraction=0.01"]))
    assert [len(item.lengths) for item in tiny.sets.values()] == [8, 8, 8]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (["components=[jat]"], ["toy/a", "toy/b"]),
        (["components=[d*]"], ["other/a"]),
        (["components=[jat,dmc]", "include=['*/a']"], ["other/a", "toy/a"]),
        (["exclude=[jat]"], ["other/a"]),
        (["exclude=[dmc,toy/b]"], ["toy/a"]),
    ],
)
def test_components_are_chosen_and_left_out(workdir, settings, kept):
    made = open_corpus(subset(str(corpus(workdir)), workdir / "part", settings))
    assert list(made.sets) == kept
    assert {item.component for item in made.sets.values()} <= {"jat", "dmc"}
    chosen = {"environments": ["*"], **parse_overrides([text.replace("include", "environments") for text in settings])}
    run = prepare(check(Source(toy_recipe(data=chosen), {})))
    assert [item.key for item in run.items] == kept, "a recipe chooses as the command does"


def test_a_recipe_trains_on_a_share_and_tests_on_all(workdir):
    corpus(workdir)
    whole, part = (
        prepare(check(Source(toy_recipe(data={"environments": ["*"], "exclude": ["other/*"], "fraction": share}), {})))
        for share in (1.0, 0.25)
    )
    assert [item.key for item in part.items] == ["toy/a", "toy/b"]
    for full, few in zip(whole.splits, part.splits, strict=True):
        assert len(few.train) == round(0.25 * len(full.train)) and set(few.train) < set(full.train)
        np.testing.assert_array_equal(few.test, full.test)
        np.testing.assert_array_equal(few.validation, full.validation)
    assert whole.manifest["sha256"] != part.manifest["sha256"]
    assert (part.variates["toy"].high <= whole.variates["toy"].high).all()
    assert not np.array_equal(part.variates["toy"].high, whole.variates["toy"].high)


def test_what_is_refused(workdir, capsys):
    path = str(corpus(workdir))
    for words, said in (
        (["subset", path, "fraction=2", "--to", "x"], "fraction: must be from 0 to 1, not 2"),
        (["subset", path, "include=[tyo/a]", "--to", "x"], 'Did you mean "toy/a"'),
        (["subset", path, "exclude=['*']", "--to", "x"], "together leave nothing"),
        (["subset", path, "components=[dcm]", "--to", "x"], 'matches "dcm". Did you mean "dmc"? Valid: dmc, jat.'),
        (["subset", path, "components=[dmc]", "exclude=[dmc]", "--to", "x"], "together leave nothing"),
        (["subset", "none.h5", "--to", "x"], "no such corpus"),
        (["subset", path, "--to", "toy.h5"], "is there already"),
        (["export", path, "--as", "minary", "--to", "x"], 'Did you mean "minari"'),
        (["export", path, "--as", "minari", "--to", "x", "--sets", "toy/z"], "nothing in"),
    ):
        assert cli.main(["data", *words]) == 2
        assert said in capsys.readouterr().err
    assert [p.name for p in workdir.iterdir()] == ["toy.h5"]


def test_export_to_minari_reads_back_the_same(workdir, capsys):
    corpus(workdir)
    assert cli.main(["data", "export", "toy.h5", "--as", "minari", "--to", "out", "--sets", "toy/*", "--quiet"]) == 0
    assert capsys.readouterr().out.split() == ["out/wmzoo/toy/a-v0", "out/wmzoo/toy/b-v0"]
    back = open_corpus(importing.import_files("minari", [workdir / "out"], workdir / "back", quiet=True))
    for level in ("a", "b"):
        first, second = open_corpus("toy.h5").sets[f"toy/{level}"], back.sets[f"toy/{level}-v0"]
        np.testing.assert_array_equal(first.data, second.data)
        np.testing.assert_array_equal(first.offsets, second.offsets)
        for name in ("terminated", "truncated"):
            np.testing.assert_array_equal(first.episodes[name], second.episodes[name])
    with pytest.raises(WmzooError, match="is there already"):
        exporting.export("toy.h5", "minari", workdir / "out", quiet=True)


def test_check_says_what_is_wrong_with_a_corpus(workdir, capsys):
    system_corpus(workdir / "sound.h5")
    assert cli.main(["data", "check", "sound.h5"]) == 0
    assert "1 sets, 800 steps, no problems found" in capsys.readouterr().out
    item = system_set(level="odd")
    item.data[5, 0], item.data[50, 1] = np.nan, 1e4
    write_corpus(workdir / "odd.h5", [item, system_set(level="twin"), system_set(level="copy")], {})
    assert cli.main(["data", "check", "odd.h5"]) == 2
    told = capsys.readouterr()
    for said in ("1 NaN or infinite values in x0 (episodes 0)", "is a copy of toy/copy episode", "SHA-256"):
        assert said in told.err
    assert "worth knowing: toy/odd: 1 values of x1 lie 50 times" in told.out


def test_what_is_worth_knowing_is_not_wrong(workdir, capsys):
    item = system_set()
    item.data[:, 4] = 0.5
    write_corpus(workdir / "c.h5", [dataclasses.replace(item, sha256=digest(item.data, item.offsets))], {})
    assert cli.main(["data", "check", "c.h5"]) == 0
    assert "worth knowing: toy/a: never changes: action:0" in capsys.readouterr().out


def test_outliers_are_not_seen_where_values_merely_spread(workdir):
    rng = np.random.default_rng(0)
    item = system_set(make=lambda r, n: planted_episode(rng, n))
    assert not list(checking._outliers(item))
