"""Pictures are written, whole, of what was measured, and leave nothing of matplotlib open."""

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from exact import Decoding, Exact, corpus_of, level, rows_of, trained
from matplotlib.image import imread

from wmzoo.evaluation import calibration, compare, figures, style, trajectories, transition
from wmzoo.evaluation.compare import RunRecord
from wmzoo.evaluation.metrics import CENTRAL
from wmzoo.evaluation.transition import Config

SETTINGS = Config(context=9, windows=60, horizons=(1, 5), rollouts=8)
COST = dict.fromkeys(("parameters", "train_tokens", "train_flops", "train_seconds", "peak_memory_mb", "steps"), 1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    items = [level("a", rows_of(0, 12, 0.6)), level("b", rows_of(1, 12, 0.9))]
    return corpus_of(tmp_path_factory.mktemp("corpus"), items)


def evaluated(corpus, key="curved/a", model=Exact, settings=SETTINGS, **options):
    about, variates, _ = trained(corpus, key)
    return transition.evaluate(model(variates, **options), corpus, about, settings, progress=False)


def drawn(path):
    """The pixels of a picture that shows something."""
    pixels = imread(path)[..., :3]
    assert pixels.shape[0] > 300 and pixels.shape[1] > 400 and pixels.std() > 0.05
    assert not plt.get_fignums()
    return pixels


def test_a_run_has_pictures_of_its_calibration_and_of_what_it_imagines(corpus, tmp_path):
    result = json.loads(json.dumps(evaluated(corpus, spread=0.1)))
    pictures = transition.pictures(result)
    assert list(pictures) == ["calibration.png", "imagined-curved-a.png"]
    for name, picture in pictures.items():
        picture.draw(tmp_path / name)
        drawn(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pictures)


def test_a_model_has_one_colour_in_every_picture(corpus, tmp_path, monkeypatch):
    """Modes of a model share its colour, and what is not ranked is dashed and hollow."""
    made = [("a", evaluated(corpus, spread=0.1)), ("b", evaluated(corpus, model=Decoding))]
    records = [
        RunRecord(run_id=name, name=name, seed=0, experiment="x", tags={}, cost=COST, result=json.loads(json.dumps(r)))
        for name, r in made
    ]
    lines = {}
    monkeypatch.setattr(calibration, "save", lambda figure, path: lines.update(styles_of(figure)))
    compare.make(records).pictures["calibration.png"].draw(tmp_path / "x.png")
    plt.close("all")
    assert lines["b (free-running)"][0] == lines["b (teacher-forced)"][0] != lines["a"][0]
    assert [lines[name][1] for name in ("a", "b (free-running)", "b (teacher-forced)")] == ["-", "-", "--"]


def styles_of(figure):
    shown = [line for panel in figure.axes for line in panel.lines]
    return {line.get_label(): (line.get_color(), line.get_linestyle()) for line in shown}


def test_an_exact_model_imagines_the_truth(corpus):
    imagined = evaluated(corpus)["imagined"]["curved/a"]
    truth, mean, low, high = (np.array(imagined[name]) for name in ("truth", "mean", "low", "high"))
    assert truth.shape == (9 + 5, 3) and mean.shape == low.shape == high.shape == (5, 3)
    assert imagined["names"] == ["x", "y", "reward"] and imagined["dt"] == pytest.approx(0.1)
    np.testing.assert_allclose(mean, truth[9:], atol=1e-5)
    assert (low <= high).all()


def test_nothing_is_imagined_where_episodes_are_too_short_or_the_model_left_all_bounds(corpus):
    long = Config(context=39, windows=60, horizons=(1, 30), rollouts=8)
    assert evaluated(corpus, settings=long)["imagined"] == {}
    assert evaluated(corpus, bias=float("inf"))["imagined"] == {}


def test_observed_coverage_is_of_every_central_interval(corpus):
    result = evaluated(corpus, bias=0.1, spread=0.1)  # every error is one standard deviation of the forecast
    found = result["modes"][""]["curved/a"]
    assert len(found["calibration"]) == len(CENTRAL) and found["calibration"] == sorted(found["calibration"])
    within = dict(zip(CENTRAL, found["calibration"], strict=True))
    assert within[0.65] == 0 and within[0.7] == 1, "a standard deviation is the border of the central 68 %"
    assert within[0.5] == found["coverage50"] and within[0.9] == found["coverage90"]


def test_many_curves_and_modes_fit(corpus, tmp_path):
    curves = {f"a model with a rather long name, number {i}": [x ** (1 + i / 4) for x in CENTRAL] for i in range(9)}
    calibration.draw({"levels trained on": curves, "levels not trained on": curves}, tmp_path / "many.png")
    drawn(tmp_path / "many.png")
    for picture in transition.pictures(evaluated(corpus, model=Decoding)).values():
        picture.draw(tmp_path / "modes.png")
        drawn(tmp_path / "modes.png")


def test_more_variates_than_panels(corpus, tmp_path):
    imagined = evaluated(corpus)["imagined"]["curved/a"]
    wide = {name: np.repeat(imagined[name], 20, axis=1).tolist() for name in ("truth", "mean", "low", "high")}
    names = [f"v{i}" for i in range(60)]
    trajectories.draw({**imagined, **wide, "names": names}, "wide", tmp_path / "wide.png")
    assert drawn(tmp_path / "wide.png").shape[0] < 2200


def written(records, folder, **options):
    made = compare.make(records, compare.Options(**options))
    return compare.write(made, "curves: transition/v1", folder)


def test_models_trained_on_different_levels_have_a_matrix(corpus, tmp_path):
    records = [
        RunRecord(
            run_id=f"{name} {key}",
            name=f"{name}-{key.partition('/')[2]}",
            seed=0,
            experiment="curves",
            tags={"recipe_hash": f"{name}{key}"},
            cost=COST,
            result=evaluated(corpus, key, bias=bias, name=name),
        )
        for name, bias in (("good", 0.05), ("poor", 0.4))
        for key in ("curved/a", "curved/b")
    ]
    names = [path.name for path in written(records, tmp_path, mixed=True)]
    assert "matrix.png" in names and "calibration.png" in names
    drawn(tmp_path / "matrix.png")
    assert "![errors by training and test level](matrix.png)" in (tmp_path / "comparison.md").read_text()
    assert "matrix.png" not in [path.name for path in written(records[::2], tmp_path / "one")]


def test_colours_can_be_told_apart():
    assert len(set(style.COLOURS)) == 8 and len(set(style.MARKERS)) == 7
    entries = [SimpleNamespace(kind="model", label=f"m{i}", ranked=True) for i in range(20)]
    lines = {(m["marker"], m["color"]) for m in (figures.marker(entries, i) for i in range(20))}
    bars = {(f["hatch"], f["color"]) for f in (figures._fill(entries, i) for i in range(16))}
    assert len(lines) == 20 and len(bars) == 16
    light = [sum(colour) for colour in style.ordered(5)]
    assert len(style.ordered(5)) == 5 and light == sorted(light)
