"""From a grid to its laws: the points are the runs, what is done is not repeated, and every number is written down."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from systems import system_corpus, toy_recipe

from wmzoo import cli, grid, recipe
from wmzoo import report as single
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.runs import run_folder
from wmzoo.scaling import points as reading
from wmzoo.scaling import report
from wmzoo.scaling.points import Point
from wmzoo.training import train


@pytest.fixture
def family(workdir):
    """Two widths, two lengths and two shares of the data; all cells but one are trained and evaluated."""
    system_corpus(workdir / "toy.h5")
    values = toy_recipe(train={"validate_every": 8})
    values["model"]["backbone"] = {"name": "trajworld", "blocks": 1, "heads": 2, "dropout": 0.0}
    values["evaluate"] = {"transition": {"context": 5, "windows": 32, "rollouts": 4, "horizons": [1]}}
    values["grid"] = {"model.backbone.width": [8, 16], "train.steps": [8, 24], "data.fraction": [0.25, 1.0]}
    (workdir / "family.yaml").write_text(yaml.safe_dump(values))
    cells = [recipe.check(source) for source in grid.cells("family.yaml")]
    for cell in cells[1:]:
        single.print_evaluation(str(train(cell, quiet=True)), "transition/v1", quiet=True)
    return cells


def test_a_family_is_finished_read_fitted_and_written(family, workdir, capsys):
    assert cli.main(["scaling", "family.yaml", "--dry-run", "--workers", "2"]) == 0
    assert "8 cells, 7 of them done; to train:" in capsys.readouterr().out
    assert not (workdir / "comparisons").exists() and not run_folder(family[0]).exists()
    kept = {folder: folder.stat().st_mtime_ns for folder in (run_folder(c) / "best.safetensors" for c in family[1:])}
    capsys.readouterr()
    assert cli.main(["scaling", "family.yaml"]) == 0
    assert kept == {folder: folder.stat().st_mtime_ns for folder in kept}, "what was trained is not trained again"
    folder = workdir / "comparisons" / "toy" / "scaling"
    rows = list(csv.DictReader((folder / "points.csv").open()))
    assert len(rows) == 8 and len({row["parameters"] for row in rows}) == 2 and len({row["rows"] for row in rows}) == 2
    assert [float(row["flops"]) for row in rows] == sorted(float(row["flops"]) for row in rows)
    costs = [read_json(run_folder(cell) / "run.json")["cost"] for cell in family]
    assert {float(row["flops"]) for row in rows} == {cost["train_flops"] for cost in costs}
    results = [read_json(run_folder(cell) / "transition-v1.json")["modes"] for cell in family]
    scores = [next(iter(modes.values()))["toy/a"]["nmae"] for modes in results]
    assert sorted(float(row["value"]) for row in rows) == pytest.approx(sorted(scores))
    assert (folder / "scaling.png").stat().st_size > 20_000 and "Power laws" in (folder / "scaling.md").read_text()
    logged = list((workdir / "mlruns").glob("**/comparison/scaling/scaling.png"))
    assert len(logged) == 8, "each point is a run, and has the picture"
    assert cli.main(["scaling", "family.yaml", "--metric", "validation_loss", "--to", "other"]) == 0
    other = list(csv.DictReader((workdir / "other" / "points.csv").open()))
    assert [row["value"] for row in other] != [row["value"] for row in rows]
    assert cli.main(["scaling", "family.yaml", "--metric", "nmea"]) == 2
    assert 'unknown metric "nmea". Did you mean "nmae"' in capsys.readouterr().err
    with pytest.raises(WmzooError, match="not above 0"):
        reading.collect(family, "in/skill")
    named = [dataclasses.replace(cell, name=f"rate={i}") for i, cell in enumerate(family[:2])]
    for cell, before in zip(named, family, strict=False):
        shutil.copytree(run_folder(before), run_folder(cell))
    together = reading.collect([*family[:2], *named])
    assert len(together) == 4 and {len(point.values) for point in together} == {1}, "seeds alone are averaged"


def made(noise=0.0, seeds=2):
    """A family whose error falls with compute to the power 0.15, whatever the size; 5 sizes, 4 lengths, 2 shares."""
    rng = np.random.default_rng(0)
    found = []
    for parameters in (10_000, 30_000, 100_000, 300_000, 1_000_000):
        for tokens in (1e6, 4e6, 1.6e7, 6.4e7):
            for rows in (1_000, 10_000):
                flops = 6.0 * parameters * tokens
                values = 30 * flops**-0.15 * (1.0 if rows == 10_000 else 1.2) * np.exp(noise * rng.normal(size=seeds))
                about = {"parameters": parameters, "tokens": tokens, "flops": flops, "rows": rows}
                found.append(Point(**about, value=float(values.mean()), values=tuple(values.tolist())))
    return sorted(found, key=lambda point: point.flops)


def test_the_laws_of_a_known_family_are_found():
    found = {(f.of, f.along): f for f in report.fit(made())}
    assert list(found) == [("error", a) for a in ("flops", "parameters", "tokens", "rows")] + [("best size", "flops")]
    assert found["error", "flops"].law.b == pytest.approx(0.15, rel=1e-6)
    assert found["error", "parameters"].law.b == pytest.approx(0.15, rel=1e-6)  # each at the longest training
    assert found["error", "tokens"].law.b == pytest.approx(0.15, rel=1e-6)
    assert found["error", "rows"].law is None and len(found["error", "rows"].chosen) == 2
    noisy = report.fit(made(noise=0.02))[0].law
    assert noisy.interval[0] < 0.15 < noisy.interval[1] and noisy.interval[1] - noisy.interval[0] < 0.03


def test_tables_files_and_picture_say_the_same(tmp_path):
    points = made(noise=0.02)
    found = report.fit(points)
    paths = report.write(points, found, "nmae", "made", tmp_path)
    assert [path.name for path in paths] == ["points.csv", "laws.csv", "scaling.md", "scaling.png"]
    lines = list(csv.DictReader(paths[1].open()))
    assert float(lines[0]["b"]) == found[0].law.b and lines[3]["b"] == ""
    assert [int(r["envelope"]) for r in csv.DictReader(paths[0].open())].count(1) == len(found[0].chosen)
    text = paths[2].read_text()
    assert f"{-found[0].law.b:+.3f}" in text and "3 values of U are needed" in text and "bootstrap-t" in text
    assert paths[3].read_bytes().startswith(b"\x89PNG")


def test_a_recipe_whose_cells_have_no_errors_is_refused_before_anything_long(workdir):
    system_corpus(workdir / "toy.h5")
    values = toy_recipe(grid={"model.backbone.width": [8, 16, 32]})
    values["evaluate"] = {"ope": {}}
    (workdir / "family.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(WmzooError, match="laws are of transition/v1"):
        report.run("family.yaml")
    with pytest.raises(WmzooError, match="a law needs three cells or more; give it a grid"):
        report.run("trajworld-cpu")
    with pytest.raises(WmzooError, match=r"laws are of one model.backbone, not of trajworld and tdm and mlp_ensemble"):
        report.run("quickstart")
    with pytest.raises(WmzooError, match='--metric: unknown metric "out/nmea". Did you mean "out/nmae"'):
        report.run("family.yaml", metric="out/nmea")
    assert not (workdir / "runs").exists()
