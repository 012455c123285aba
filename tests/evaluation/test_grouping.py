"""Rows by settings, differences from a baseline, repeated runs and named files, from results made by hand."""

import csv
import dataclasses

import pytest
from test_board_comparison import made, ope_result, printed, record, written

from wmzoo.errors import WmzooError
from wmzoo.evaluation import compare
from wmzoo.evaluation.grouping import grouped, told
from wmzoo.evaluation.tables import Grid, latex


@pytest.fixture
def runs():
    """Two backbones by two tokenizers by three seeds; the error of tdm is higher by 3, of one_hot by 1."""
    found = []
    for i, backbone in enumerate(("trajworld", "tdm")):
        for j, tokenizer in enumerate(("gauss_hist", "one_hot")):
            for seed in range(3):
                one = record(f"{backbone}-{tokenizer}", seed, ope_result(1 + 3 * i + j + 0.2 * seed + 0.01 * i * seed))
                settings = {
                    "name": one.name,
                    "seed": str(seed),
                    "model.backbone.name": backbone,
                    "model.backbone.blocks": str(2 + 2 * i),
                    "model.tokenizer.name": tokenizer,
                    "model.tokenizer.bins": "64",
                    "train.steps": "300",
                }
                found.append(dataclasses.replace(one, settings=settings))
    return found


def test_runs_are_grouped_by_settings_and_paired_by_what_else_varies(runs):
    found = grouped(runs, ["model.backbone.name"])
    assert {one.group for one in found} == {"trajworld", "tdm"}
    assert {one.unit for one in found if one.group == "tdm"} == {one.unit for one in found if one.group == "trajworld"}
    assert found[0].unit == "model.tokenizer.name=gauss_hist, seed 0", "blocks follow the backbone"
    assert "differ in model.tokenizer.name, seed" in told(found, ["model.backbone.name"])
    both = grouped(runs, ["model.backbone.name", "train.steps"])
    assert both[0].group == "trajworld-steps=300"


def test_a_wrong_setting_gets_the_nearest_one(runs):
    with pytest.raises(WmzooError, match=r'--by: no recipe has a setting "model.backbon.name". Did you mean "model.b'):
        made(runs, by=["model.backbon.name"])
    for path in ("backbone", "model.backbone", "backbone.name"):
        with pytest.raises(WmzooError, match=rf'setting "{path}". Did you mean "model.backbone.name"'):
            made(runs, by=[path])


def test_rows_average_what_they_do_not_name(runs):
    text = printed(runs, by=["model.backbone.name"], baseline="tdm")
    assert "Rows by model.backbone.name." in " ".join(text.split())
    rows = made(runs, by=["model.backbone.name"]).full[0].rows
    assert [row[0] for row in rows[:2]] == ["trajworld", "tdm"] and rows[0][1].startswith("1.7 [")
    assert "3 (6 runs)" in text


def test_the_column_beside_a_baseline_has_intervals_marks_and_full_numbers(runs):
    one = made(runs, by=["model.backbone.name"], baseline="tdm")
    grid = next(grid for grid in one.full if grid.title == "hopper: vs tdm: paired differences")
    assert [row[0] for row in grid.rows] == ["trajworld", "baseline: fitted Q", "floor: behaviour return"]
    assert grid.rows[0][1].startswith("-3.01 [-3.0") and grid.rows[0][1].endswith("]*")
    assert grid.models == 1 and grid.bold == set()
    first = one.lines[0]
    assert first["model"] == "trajworld" and first["baseline"] == "tdm"
    assert first["abs_error_vs_baseline_low"] < first["abs_error_vs_baseline"] < first["abs_error_vs_baseline_high"] < 0
    assert first["abs_error_vs_baseline_p"] < 0.001
    assert one.lines[1]["abs_error_vs_baseline"] is None, "the baseline itself"
    assert "differences.png" in one.pictures and "Holm's correction for 3 rows" in " ".join(one.caption)


def test_a_baseline_may_be_a_floor_and_must_be_there(runs):
    assert made(runs, baseline="behaviour return").full[-1].title.startswith("hopper: vs floor: behaviour return")
    with pytest.raises(WmzooError, match=r'--baseline: no row "tdn-one_hot". Did you mean "tdm-one_hot"'):
        made(runs, baseline="tdn-one_hot")


def test_rows_of_other_seeds_are_told_to_be_unpaired(runs):
    moved = [dataclasses.replace(r, seed=r.seed + 10) if r.name == "tdm-one_hot" else r for r in runs]
    said = " ".join(made(moved, baseline="trajworld-gauss_hist").caption)
    assert "Other seeds than trajworld-gauss_hist's, so not paired by seed: tdm-one_hot." in said
    assert "not paired" not in " ".join(made(runs, baseline="trajworld-gauss_hist").caption)


def test_a_label_of_several_data_says_which(runs):
    other = [dataclasses.replace(r, result={**r.result, "manifest_hash": "f" * 64}) for r in runs]
    with pytest.raises(WmzooError, match=r"manifest hashes.*--mixed"):
        made([*runs, *other], by=["model.backbone.name"])
    both = made([*runs, *other], by=["model.backbone.name"], mixed=True)
    assert {"tdm aaaaaa", "tdm ffffff"} <= {row[0] for row in both.full[0].rows}
    assert any(text.startswith("MIXED: data of hopper") for text in both.caption)


def test_versions_of_a_protocol_are_mixed_only_when_told(runs):
    older = dataclasses.replace(runs[0], result={**runs[0].result, "protocol": "ope/v0"})
    with pytest.raises(WmzooError, match=r"protocols are mixed: ope/v0 \(1 runs\); ope/v1"):
        made([older, *runs[1:]])
    assert any("MIXED: protocols are mixed" in text for text in made([older, *runs[1:]], mixed=True).caption)


def test_repeated_runs_are_told_of(runs):
    older = dataclasses.replace(runs[0], run_id="older")
    again = dataclasses.replace(runs[0], older=(older,))
    assert made([again, *runs[1:]]).caption[-1] == "Repeated runs with the same numbers, to 1e-06: 1."
    changed = ope_result(1.0)
    changed["boards"]["hopper"]["rows"]["model"]["metrics"]["abs_error"]["value"] = 1.5
    again = dataclasses.replace(runs[0], older=(dataclasses.replace(older, result=changed),))
    (said,) = [text for text in made([again, *runs[1:]]).caption if "REPRODUCED" in text]
    assert (
        "trajworld-gauss_hist s0, same recipe, seed and data: 1 of 6 numbers differ, hopper/abs_error most: 1 " in said
    )
    asked = {**changed, "settings": {**changed["settings"], "gamma": 0.9}}
    other = dataclasses.replace(runs[0], older=(dataclasses.replace(older, result=asked),))
    assert not any("epeated" in text or "REPRO" in text for text in made([other, *runs[1:]]).caption), (
        "another question"
    )


def test_named_files_are_written_beside_the_folder(runs, tmp_path):
    named = {".md": tmp_path / "sub" / "table.md", ".png": tmp_path / "figure.png", ".tex": tmp_path / "t.tex"}
    paths = written(runs, tmp_path / "all", named, by=["model.backbone.name"], baseline="tdm")
    assert all(path.stat().st_size > 0 for path in paths) and paths[-3:] == list(named.values())
    text = named[".md"].read_text()
    assert "](../figure.png)" in text and "](../all/differences.png)" in text
    assert "](comparison.png)" in (tmp_path / "all" / "comparison.md").read_text()
    lines = list(csv.DictReader((tmp_path / "all" / "comparison.csv").open()))
    assert [line["model"] for line in lines[:2]] == ["trajworld", "tdm"] and lines[0]["abs_error_vs_baseline"]
    assert set(compare.SUFFIXES) == {path.suffix for path in (tmp_path / "all").iterdir()}


def test_latex_is_escaped_ruled_and_bold():
    grid = Grid(title="50 % & more", heads=("", "a_b"), rows=[["x~y\\", "1 ±2"], ["z", "-"]], bold={(0, 1)}, models=1)
    text = latex(grid)
    assert r"\caption{50 \% \& more}" in text and r" & a\_b \\" in text and r"\begin{tabular}{lr}" in text
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text and r"\end{tabular}}" in text
    assert (
        r"x\textasciitilde{}y\textbackslash{} & \textbf{1 $\pm$2} \\" + "\n\\midrule\nz & - \\\\\n\\bottomrule" in text
    )
