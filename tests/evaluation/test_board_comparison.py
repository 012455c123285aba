"""Comparisons of boards: rows over seeds, rules, published numbers, files and pictures, from results made by hand."""

import copy
import csv
import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from wmzoo.errors import WmzooError
from wmzoo.evaluation import compare, mpc, ope, reported, transition
from wmzoo.evaluation.board_comparison import _best
from wmzoo.evaluation.board_rows import Row, boards
from wmzoo.evaluation.boards import Column
from wmzoo.evaluation.bootstrap import DRAWS, Estimate, pooled
from wmzoo.evaluation.compare import RunRecord

COST = {"parameters": 12_345.0, "train_tokens": 1e9, "train_flops": 2e15, "train_seconds": 60.0}
COST |= {"peak_memory_mb": 512.0, "steps": 100.0}
TRUE = [10.0, 20.0, 40.0]


def metric(value, spread=0.0):
    draws = [value - spread, value, value + spread] * 10
    return {"value": value, "low": value - spread, "high": value + spread, "draws": draws}


def ope_row(kind, values, error, spearman, spread=0.1):
    metrics = {column.name: metric(error, spread) for column in ope.COLUMNS}
    metrics |= {name: metric(spearman, spread / 10) for name in ("spearman", "pearson")}
    return {"kind": kind, "metrics": metrics, "values": values, "errors": [1.0] * len(values), "seconds": 2.0}


def ope_result(error, spearman=0.5, environments=("hopper",), **changes):
    """A result whose model has an absolute error; fitted Q has one of 5, the behaviour return one of 9."""
    board = {
        "about": "3 policies, 4 first states",
        "manifest_hash": "a" * 64,
        "rows": {
            "model": ope_row("model", [value + error for value in TRUE], error, spearman),
            "fitted Q": ope_row("baseline", [15.0, 25.0, 45.0], 5.0, 1.0, spread=0.5),
            "behaviour return": ope_row("floor", [30.0, 30.0, 30.0], 9.0, 0.0),
        },
        "policies": [{"name": f"p{i}", "value": value, "error": 1.0} for i, value in enumerate(TRUE)],
    }
    return {
        "protocol": "ope/v1",
        "settings": {"gamma": 0.995, "policies": "", "batch_size": 512},
        "compat": "corrected",
        "trained_on": [f"{name}/medium" for name in environments],
        "manifest_hash": "a" * 64,
        "columns": [dataclasses.asdict(column) for column in ope.COLUMNS],
        "boards": {name: copy.deepcopy(board) for name in environments},
        "seconds": 3.0,
        **changes,
    }


def mpc_row(kind, returns):
    spread = 100.0 if len(returns) > 1 else 0.0
    metrics = {"return": metric(float(np.mean(returns)), spread), "score": metric(50.0), "steps": metric(900.0)}
    metrics["ms"] = {"value": 10.0, "low": None, "high": None, "draws": None}
    return {"kind": kind, "metrics": metrics, "returns": list(returns), "seconds": 1.0}


def mpc_result(returns, environments=("hopper",)):
    board = {
        "about": "random_shooting, 128 candidates, horizon 25, 3 episodes of at most 1000 steps",
        "rows": {
            "model": mpc_row("model", returns),
            "random_shooting on the true simulator": mpc_row("ceiling", [3000.0, 3300.0, 3600.0]),
            "proposal policy": mpc_row("baseline", [1000.0, 1400.0, 1500.0]),
            "random actions": mpc_row("floor", [10.0, 20.0, 30.0]),
        },
    }
    settings = {"planner": {"name": "random_shooting", "std": 1.5, "noise": None}, "env": "", "steps": None}
    result = ope_result(1.0, environments=environments)
    columns = [dataclasses.asdict(column) for column in mpc.COLUMNS]
    made = {name: copy.deepcopy(board) for name in environments}
    return {**result, "protocol": "mpc/v1", "settings": settings, "columns": columns, "boards": made}


def record(name, seed, result):
    tags = {"recipe_hash": f"{name}{seed}abcdef", "manifest_hash": result["manifest_hash"]}
    cost = {**COST, "train_seconds": 60.0 + 20 * seed}
    run_id = f"{name}-{seed}"
    return RunRecord(run_id=run_id, name=name, seed=seed, experiment="e", tags=tags, cost=cost, result=result)


@pytest.fixture
def runs():
    """Two models with two seeds each: errors 1 and 3, and errors 7 and 8."""
    errors = {("good", 0): 1.0, ("good", 1): 3.0, ("poor", 1): 8.0, ("poor", 0): 7.0}
    return [record(*key, ope_result(error, spearman=1 - error / 10)) for key, error in errors.items()]


def made(records, **options):
    return compare.make(records, compare.Options(**options))


def written(records, folder, named=None, **options):
    return compare.write(made(records, **options), "curves: transition/v1", folder, named)


def printed(records, **options):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))
    compare.print_table(made(records, **options), console)
    return console.export_text()


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def test_draws_of_runs_are_pooled_over_seeds_then_draws():
    found = pooled([(1.0, [1.0] * 200), (3.0, [3.0] * 200)])
    assert (found.mean, found.low, found.high) == (2.0, 1.0, 3.0)  # both seeds drawn twice, a quarter of the draws each
    varied = np.linspace(-1, 1, 201)
    alone = pooled([(0.0, list(varied)), (0.0, list(varied))])
    # the same draw of both: what the runs have in common does not average out
    assert alone.low == pytest.approx(-0.95, abs=0.03) and alone.high == pytest.approx(0.95, abs=0.03)
    assert pooled([(2.0, None)]) == Estimate(mean=2.0)
    assert pooled([(1.0, None), (3.0, None)]).low == 1.0 and DRAWS >= 1000


def test_seeds_make_one_row_and_what_no_model_has_a_part_in_is_one_too(runs):
    (board,) = boards(runs)
    assert [row.title for row in board.rows] == ["good", "poor", "baseline: fitted Q", "floor: behaviour return"]
    good, poor = board.rows[:2]
    assert good.seeds == poor.seeds == (0, 1) and poor.run_ids == ("poor-0", "poor-1")
    found = good.estimate("abs_error")
    assert found.mean == 2.0 and found.low == pytest.approx(0.9) and found.high == pytest.approx(3.1)
    assert good.cost["train_seconds"] == 70.0 and good.seconds == 2.0
    floor = board.rows[3].estimate("abs_error")
    assert (floor.mean, floor.low, floor.high) == (9.0, 8.9, 9.1) and board.rows[3].seeds == ()


def test_a_metric_that_a_seed_lacks_is_not_averaged(runs):
    runs[1].result["boards"]["hopper"]["rows"]["model"]["metrics"]["regret5"] = dict.fromkeys(metric(1.0))
    good = boards(runs)[0].rows[0]
    assert good.estimate("regret5") is None and good.estimate("regret1").mean == 2.0
    assert line_of(printed(runs), "good").split()[-2] == "-"


def test_bold_is_the_best_without_overlap_by_the_direction_of_the_column(runs):
    def row(label, kind, mean):
        results = tuple({"metrics": {"m": metric(m, 0.1)}} for m in (mean, mean + 0.01))
        own = {"results": results, "units": ("0", "1")} if kind == "model" else {"results": results[:1]}
        return Row(label=label, kind=kind, policies=(), cost={}, manifest="", **own)

    rows = [row("a", "model", 2.0), row("b", "ceiling", 1.0), row("c", "floor", 3.0)]
    groups = [one.group("m") for one in rows]
    low, high = Column("m", "m", "low", ""), Column("m", "m", "high", "")
    assert _best(rows, groups, low) == 0, "the ceiling is not ranked"
    assert _best(rows, groups, high) == 2, "floors are"
    assert ope.compare(runs).full[0].bold == set(), "two seeds, 1 and 3, do not tell 2 from fitted Q's 5"
    alike = [record("good", seed, ope_result(2.0 + 0.01 * seed, spearman=0.5 + 0.001 * seed)) for seed in range(3)]
    grid = ope.compare(alike).full[0]
    assert (0, 1) in grid.bold and grid.rows[0][1] == "2.01 [1.9, 2.12]"
    assert (1, 3) in grid.bold and grid.rows[1][0] == "baseline: fitted Q"  # the higher rank correlation
    assert ope.compare(alike[:1]).full[0].bold == set(), "one seed tells nothing of others"


def test_what_no_model_has_a_part_in_must_agree_unless_runs_are_mixed(runs):
    runs[1].result["boards"]["hopper"]["rows"]["fitted Q"]["seconds"] = 99.0
    assert len(boards(runs)[0].rows) == 4, "times do not repeat"
    runs[1].result["boards"]["hopper"]["rows"]["fitted Q"]["values"][0] += 1
    with pytest.raises(WmzooError, match=r'"fitted Q" in hopper differs.*again'):
        made(runs)
    runs[1].result["settings"]["gamma"] = 0.9
    with pytest.raises(WmzooError, match=r"gamma 0\.9 .*--mixed"):
        made(runs)
    text = printed(runs, mixed=True)
    assert "MIXED" in text and sum(line.startswith("baseline: fitted Q") for line in text.splitlines()) == 2
    labels = [row.label for row in boards(runs, mixed=True)[0].rows]
    assert labels == ["good", "poor", "fitted Q", "fitted Q (of good s1)", "behaviour return"]


def test_true_values_must_agree_too(runs):
    runs[0].result["boards"]["hopper"]["policies"][0]["value"] += 0.5
    with pytest.raises(WmzooError, match="differs between"):
        made(runs)


def test_each_environment_has_its_own_data(runs):
    boards_of = {"walker2d": runs[1].result["boards"]["hopper"]}
    elsewhere = dataclasses.replace(
        runs[1], name="else", result={**runs[1].result, "manifest_hash": "f" * 64, "boards": boards_of}
    )
    found = boards([runs[0], elsewhere])
    assert [board.environment for board in found] == ["hopper", "walker2d"]
    made([runs[0], elsewhere])


def test_mixtures_are_refused(runs):
    other = dataclasses.replace(runs[1], result={**runs[1].result, "manifest_hash": "f" * 64})
    with pytest.raises(WmzooError, match=r"manifest hashes.*ffffffffffff.*--mixed"):
        made([runs[0], other])
    foreign = record("good", 1, mpc_result([1.0]))
    for allowed in (False, True):
        with pytest.raises(WmzooError, match=r"protocols are mixed: ope/v1.*mpc/v1.*one protocol"):
            made([runs[0], foreign], mixed=allowed)


def test_the_table_fits_a_hundred_columns_and_says_what_it_shows(runs):
    text = printed(runs, published=True)
    assert all(len(line) <= 100 for line in text.splitlines()) and "…" not in text
    said = " ".join(text.split())
    for word in ("hopper: 3 policies", "12.3k", "ope/v1 (gamma 0.995)", "seeds a model: 2", "rank correlation"):
        assert word in said
    assert line_of(text, "good").split()[1:3] == ["2.00", "±1.10"]
    planned = " ".join(printed([record("good", 0, mpc_result([1.0]))]).split())
    assert "mpc/v1 (planner random_shooting (std 1.5))" in planned


def test_table_6_is_shipped_as_printed():
    table = reported.table6()
    assert len(table) == 3 * 5 * 7 * 2
    assert {row["environment"] for row in table} == {"hopper", "walker2d", "halfcheetah"}
    found = {
        (row["environment"], row["level"], row["method"], row["metric"]): (float(row["mean"]), float(row["std"]))
        for row in table
    }
    assert len(found) == len(table)
    assert found["hopper", "random", "etm", "abs_error"] == (236, 15)
    assert found["walker2d", "expert", "tdm", "abs_error"] == (403, 141)
    assert found["halfcheetah", "expert", "trajworld, pre-trained", "abs_error"] == (841, 14)
    assert found["hopper", "expert", "tdm", "rank_correlation"] == (-0.34, 0.17)
    assert found["halfcheetah", "medium", "trajworld, pre-trained", "rank_correlation"] == (0.98, 0.0)


def test_published_rows_are_of_the_level_and_never_bold_nor_ranked(runs):
    without, made = ope.compare(runs), ope.compare(runs).beside(reported.published(runs))
    assert made.full[: len(without.full)] == without.full, "ours stay as they were"
    (theirs,) = made.full[len(without.full) :]
    assert theirs.title == "hopper: published (Yin et al. 2025, their data and policies)"
    assert theirs.bold == set() and theirs.models == 0 and len(theirs.rows) == 7
    assert theirs.rows[0] == ["etm", "medium", "47 (21)", "0.94 (0.04)"]
    assert "table 6" in made.caption[-1] and "Pearson" in made.caption[-1]


def test_all_levels_are_shown_of_an_environment_whose_levels_are_not_published():
    own = record("good", 0, ope_result(1.0, trained_on=["hopper/mixed"]))
    assert len(reported.published([own]).full[0].rows) == 35
    other = record("good", 0, ope_result(1.0, environments=("ant",)))
    with pytest.raises(WmzooError, match=r"--published: nothing is published of ant, but of hopper, walker2d"):
        made([other], published=True)


def test_a_protocol_without_published_numbers_refuses_them():
    assert not hasattr(transition, "published")
    with pytest.raises(WmzooError, match=r"--published: there are no published numbers for mpc/v1; leave"):
        made([record("good", 0, mpc_result([1.0]))], published=True)


def test_files_hold_every_row_in_full(runs, tmp_path):
    paths = written(runs, tmp_path / "new", published=True)
    assert [path.name for path in paths] == ["comparison.csv", "comparison.md", "comparison.tex", "comparison.png"]
    lines = list(csv.DictReader(paths[0].open()))
    assert [line["kind"] for line in lines] == ["model"] * 2 + ["baseline", "floor"] + ["published"] * 7
    good, floor, etm = lines[0], lines[3], lines[4]
    assert (good["model"], good["seeds"], good["run_ids"]) == ("good", "0 1", "good-0 good-1")
    assert (float(good["abs_error"]), float(good["train_seconds"])) == (2.0, 70.0)
    assert float(good["abs_error_low"]) == boards(runs)[0].rows[0].estimate("abs_error").low
    assert floor["seeds"] == floor["parameters"] == "" and floor["trained_on"] == "hopper/medium"
    assert (etm["abs_error"], etm["abs_error_std"], etm["rank_correlation"]) == ("47.0", "21.0", "0.94")
    assert etm["spearman"] == etm["pearson"] == etm["abs_error_low"] == "", "theirs is neither for sure"
    text = paths[1].read_text()
    assert "| good | 2 [0.9, 3.1] |" in text and "comparison.png" in text
    assert "### hopper: published (Yin et al. 2025, their data and policies)" in text
    assert not any("**" in line for line in text.partition("### hopper: published")[2].splitlines())


def looks_drawn(path):
    pixels = imread(path)
    assert pixels.shape[0] > 300 and pixels.shape[1] > 800 and pixels[..., :3].std() > 0.03


def test_pictures_of_values(tmp_path):
    places = ("hopper", "walker2d")
    names = ("good", "poor", "other")
    runs = [record(n, s, ope_result(2.0 * i + s, environments=places)) for i, n in enumerate(names) for s in (0, 1)]
    looks_drawn(written(runs, tmp_path)[-1])


def test_pictures_of_returns(tmp_path):
    places = ("hopper", "halfcheetah")
    rng = np.random.default_rng(0)
    runs = [
        record(name, seed, mpc_result(level + 300 * rng.random(3), places))
        for name, level in (("good", 2000.0), ("poor", 500.0))
        for seed in (0, 1)
    ]
    looks_drawn(written(runs, tmp_path)[-1])


def test_a_run_of_fewer_environments_has_rows_where_it_was(tmp_path):
    runs = [record("good", 0, ope_result(1.0, environments=("hopper", "walker2d"))), record("poor", 0, ope_result(2.0))]
    runs[1].result["settings"]["gamma"] = 0.9
    found = boards(runs, mixed=True)
    assert [[row.label for row in board.rows[:2]] for board in found] == [["good", "poor"], ["good", "fitted Q"]]
    assert [path.name for path in written(runs, tmp_path, mixed=True)][-1] == "comparison.png"
