"""Comparisons of evaluated models: rows, rules and files."""

import csv
import dataclasses

import pytest
from exact import Decoding, Exact, corpus_of, level, rows_of, trained
from matplotlib.image import imread
from rich.console import Console

from wmzoo.errors import WmzooError
from wmzoo.evaluation import compare, entries, transition
from wmzoo.evaluation.compare import RunRecord
from wmzoo.evaluation.records import check
from wmzoo.evaluation.transition import Config

COST = {"parameters": 12_345.0, "train_tokens": 1e9, "train_flops": 2e15, "train_seconds": 60.0}
COST |= {"peak_memory_mb": 512.0, "steps": 100.0}
NAMES = ["comparison.csv", "comparison.md", "comparison.tex", "comparison.png", "variates.png", "calibration.png"]
SETTINGS = Config(context=9, windows=200, horizons=(1, 3, 9), rollouts=40)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models of different error with three seeds each, and one that decodes with one seed."""
    items = [level("a", rows_of(0, 12, 0.6)), level("b", rows_of(1, 5, 0.9)), level("c", rows_of(2, 5, 0.3))]
    corpus = corpus_of(tmp_path_factory.mktemp("corpus"), items)
    manifest, variates, _ = trained(corpus)
    models = [(Exact(variates, bias=0.05 + 0.001 * s, spread=0.1, name="good"), s) for s in range(3)]
    models += [(Exact(variates, bias=0.20 + 0.001 * s, spread=0.1, name="poor"), s) for s in range(3)]
    models += [(Decoding(variates), 0)]
    return [record(model, seed, corpus, manifest) for model, seed in models]


def record(model, seed, corpus, manifest, settings=SETTINGS):
    result = transition.evaluate(model, corpus, manifest, settings, progress=False)
    tags = {
        "recipe_hash": f"{model.name}{seed}abcdef",
        "manifest_hash": manifest["sha256"],
        "protocol": "transition/v1",
    }
    run_id = f"{model.name}-{seed}"
    return RunRecord(
        run_id=run_id, name=model.name, seed=seed, experiment="curves", tags=tags, cost=COST, result=result
    )


def made(records, **options):
    return compare.make(records, compare.Options(**options))


def written(records, folder, named=None, **options):
    return compare.write(made(records, **options), "curves: transition/v1", folder, named)


def printed(records, width=100, **options):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    compare.print_table(made(records, **options), console)
    return console.export_text()


def test_rows_are_models_by_error_then_modes_that_saw_the_truth_then_floors(runs):
    found = entries.rows(runs)
    models = ["good", "poor", "decoding (free-running)", "decoding (teacher-forced)"]
    assert sorted(e.title for e in found[:3]) == sorted(models[:3]) and found[0].title == "good"
    assert found[3].title == models[3] and not found[3].ranked
    assert [e.title for e in found[4:]] == ["last value", "history mean", "ridge"]
    assert found[0].seeds == (0, 1, 2) and found[0].run_ids == ("good-0", "good-1", "good-2")


def test_own_and_other_levels(runs):
    good = entries.rows(runs)[0]
    assert good.keys("in") == ["curved/a"] and good.keys("out") == ["curved/b", "curved/c"]
    assert good.value(good.keys("in"), "nmae") == pytest.approx(0.051, rel=1e-3)
    assert good.value(good.keys("in"), "nmae", 9) > 0.051
    assert good.value(good.keys("in"), "no such metric") is None


def test_intervals_contain_the_mean(runs):
    for entry in entries.rows(runs):
        for key in entry.results[0]:
            found = entry.estimate([key], "nmae")
            assert found.low <= found.mean + 1e-12 and found.mean <= found.high + 1e-12
            assert found.mean == pytest.approx(entry.value([key], "nmae"))


def best(rows):
    return entries.best(rows, [row.keys("in") for row in rows], "nmae")


def test_the_best_is_bold_only_where_it_is_apart_from_every_other(runs):
    rows = [entry for entry in entries.rows(runs[:6]) if entry.kind == "model"]
    assert (best(rows), best(rows[::-1]), best(rows[:1])) == (0, 1, None)
    again = [dataclasses.replace(run, name="again") for run in runs[:3]]
    twice = entries.rows([*runs[:6], *again])
    assert best(twice) is None, "the same model under another name"
    alone = [entry for entry in entries.rows([runs[0], runs[3]]) if entry.kind == "model"]
    assert best(alone) is None, "one seed tells nothing of others"


def test_floors_take_part_in_the_ranking_and_the_teacher_forced_do_not(runs):
    rows = entries.rows(runs)
    forced = next(row for row in rows if not row.ranked)
    assert forced.estimate(forced.keys("in"), "nmae") is not None
    assert best([row for row in rows if row.kind == "floor" or row is forced]) is not None
    models = [dataclasses.replace(row, results=poor(row.results)) for row in rows if len(row.seeds) == 3]
    found = best([*models, *(row for row in rows if row.kind == "floor")])
    assert found is not None and found >= 2, "a floor is better than what errs by 50"


def poor(results):
    def worse(cell):
        episodes = {**cell["by_episode"], "nmae": [50.0 + i for i in range(len(cell["by_episode"]["nmae"]))]}
        return {**cell, "nmae": 50.0, "by_episode": episodes}

    return tuple({key: worse(cell) for key, cell in result.items()} for result in results)


def test_the_table_fits_a_hundred_columns(runs):
    text = printed(runs)
    assert all(len(line) <= 100 for line in text.splitlines()) and "…" not in text
    for name in ("good", "poor", "decoding (free-running)", "floor: last value", "floor: ridge"):
        assert sum(line.startswith(name) for line in text.splitlines()) == 2
    for word in (
        "transition/v1",
        "curved/a",
        "context 9",
        "12.3k",
        "2P",
        "not ranked",
        runs[0].result["manifest_hash"][:12],
    ):
        assert word in " ".join(text.split())


def test_mixed_data_are_refused_and_told_when_allowed(runs):
    other = {**runs[1].result, "manifest_hash": "f" * 64}
    mixed = [runs[0], dataclasses.replace(runs[1], result=other)]
    with pytest.raises(WmzooError, match=r"manifest hashes.*ffffffffffff.*--mixed"):
        made(mixed)
    text = printed(mixed, mixed=True)
    assert "MIXED" in text and sum(line.startswith("good") for line in text.splitlines()) == 4


def test_mixed_settings_are_refused_but_for_the_batch_size(runs):
    def with_setting(**changes):
        settings = {**runs[1].result["settings"], **changes}
        return [runs[0], dataclasses.replace(runs[1], result={**runs[1].result, "settings": settings})]

    assert check(with_setting(batch_size=3)) == []
    with pytest.raises(WmzooError, match="windows 5"):
        check(with_setting(windows=5))


def test_mixed_protocols_are_refused(runs):
    newer = dataclasses.replace(runs[1], result={**runs[1].result, "protocol": "transition/v2"})
    with pytest.raises(WmzooError, match=r"protocols.*transition/v1.*transition/v2"):
        check([runs[0], newer])


def test_nothing_to_compare_is_refused():
    with pytest.raises(WmzooError, match="nothing to compare"):
        made([])


def test_different_recipes_of_one_name_stay_apart(runs):
    again = dataclasses.replace(runs[3], name="good", tags={**runs[3].tags, "recipe_hash": "123456789"})
    titles = [e.title for e in entries.rows([runs[0], again]) if e.kind == "model"]
    assert titles == ["good good0a", "good 123456"]
    tagged = [dataclasses.replace(r, tags={**r.tags, "variant": f"good {r.name}"}) for r in (runs[0], again)]
    tagged[1] = dataclasses.replace(tagged[1], tags={**tagged[1].tags, "variant": "good two"})
    assert [e.title for e in entries.rows(tagged) if e.kind == "model"] == ["good good", "good two"]


def test_files_are_whole_and_agree_with_the_rows(runs, tmp_path):
    paths = written(runs, tmp_path / "new")
    assert [p.name for p in paths] == NAMES
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in paths)
    lines = list(csv.DictReader(paths[0].open()))
    rows = entries.rows(runs)
    assert len(lines) == len(rows) * 3
    for line, (entry, key) in zip(lines, ((e, k) for e in rows for k in e.results[0]), strict=True):
        found = entry.estimate([key], "nmae")
        assert (line["model"], line["mode"], line["level"]) == (entry.label, entry.mode, key.split("/")[1])
        assert (float(line["nmae"]), float(line["nmae_low"]), float(line["nmae_high"])) == (
            found.mean,
            found.low,
            found.high,
        )
        assert (line["parameters"] == "") == (line["nll"] == "") == (entry.kind == "floor")
    text = paths[1].read_text()
    assert "| good | 0.0510 [" in text and "another seed may lie outside" in text, "decoding has one seed"
    three = written(runs[:6], tmp_path / "three")
    assert "| good | **0.0510 [" in three[1].read_text() and r"good & \textbf{0.0510 [" in three[2].read_text()
    assert "With 3 runs a row, its own interval is too narrow" in three[1].read_text()
    assert "floor: ridge" in text and "comparison.png" in text
    for picture in paths[3:]:
        pixels = imread(picture)
        assert pixels.shape[0] > 300 and pixels.shape[1] > 800 and pixels[..., :3].std() > 0.05


def test_a_diverged_run_is_shown_without_a_number(runs, tmp_path):
    def blanked(cell):
        return {**cell, "nmae": None, "mae": None, "skill": None, "vs_last": None}

    modes = {"": {key: blanked(cell) for key, cell in runs[3].result["modes"][""].items()}}
    bad = dataclasses.replace(runs[3], result={**runs[3].result, "modes": modes})
    text = printed([runs[0], bad])
    assert "good" in text and next(line for line in text.splitlines() if line.startswith("poor")).split()[1] == "-"
    assert len(written([runs[0], bad], tmp_path)) == 6


def test_a_folder_that_cannot_be_made_is_refused(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WmzooError, match="can't be written"):
        written(runs, tmp_path / "file" / "inside")


def test_a_baseline_of_two_modes_is_the_one_that_is_ranked(runs):
    found = made(runs, baseline="decoding").full[-1]
    assert found.title == "vs decoding (free-running): paired differences"
    assert made(runs, baseline="ridge").full[-1].title == "vs floor: ridge: paired differences"
