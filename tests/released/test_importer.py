"""Released checkpoints in, released checkpoints out."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from released.conftest import RECORDED
from systems import planted_episode, system_corpus

import wmzoo
from wmzoo import checkpoint, cli, compat, report, training
from wmzoo import recipe as recipes
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.released import exporter, importer, names, pickles
from wmzoo.trajectories import window_of

HOPPER = importer.Told(states=11)
SOURCES = {
    "trajworld": RECORDED / "trajworld_hopper" / "trm_dynamics.pkl",
    "tdm": RECORDED / "tdm_hopper" / "trm_dynamics.pkl",
    "mlp_ensemble": RECORDED / "mlp_hopper_padded" / "mlp_dynamics.pkl",
}


def leaves(tree):
    """Names, shapes, types and bytes of every leaf."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= {f"{key}/{name}": leaf for name, leaf in leaves(value).items()}
        else:
            array = np.asarray(value)
            found[key] = (array.shape, array.dtype.str, array.tobytes())
    return found


def copy_of(kind, tmp_path, change=None):
    """The released file of a kind, changed."""
    source = SOURCES[kind]
    for path in source.parent.glob("*.npy"):
        shutil.copyfile(path, tmp_path / path.name)
    tree = pickles.read(source)
    if change:
        change(tree)
    pickles.write(tmp_path / source.name, tree)
    return tmp_path / source.name


def universal(tree):
    """As pre-training leaves it."""
    tree["max_values"], tree["min_values"] = 1 + 1e-5, 0 - 1e-5


def hopper_window(rows=6):
    variates = importer._variates(Path("none"), HOPPER, {n: np.full(15, v, "f4") for n, v in RANGES.items()})[
        "environment"
    ]
    return window_of(np.random.default_rng(0).uniform(-1, 1, (3, rows, 15)).astype("f4"), variates)


RANGES = {"low": -1.0, "high": 1.0, "mean": 0.0, "std": 1.0}


@pytest.mark.parametrize("kind", names.KINDS)
def test_export_gives_the_imported_file_back_to_the_bit(workdir, kind):
    importer.import_file(SOURCES[kind], kind, workdir / "model", HOPPER)
    written = exporter.export("model", "official", workdir / "out")
    found, wanted = leaves(pickles.read(written[0])), leaves(pickles.read(SOURCES[kind]))
    if kind == "tdm":  # the recorded position table was cut; the released one has this many rows
        rows, width = 10_240, 48
        name = "params/params/embed_timestep/embedding"
        assert found[name][0] == (rows, width) and found[name][2][: len(wanted[name][2])] == wanted[name][2]
        del found[name], wanted[name]
    assert found == wanted
    loaded = pickle.loads(written[0].read_bytes())  # noqa: S301 (written above)
    assert leaves(loaded).keys() == leaves(pickles.read(written[0])).keys()
    for path in written[1:]:
        given, back = np.load(SOURCES[kind].parent / path.name), np.load(path)
        assert back.dtype == given.dtype and back.tobytes() == given.tobytes()
    importer.import_file(written[0], kind, workdir / "again", HOPPER)
    first, second = wmzoo.load("model").state_dict(), wmzoo.load("again").state_dict()
    assert all(torch.equal(first[n], second[n][: len(first[n])] if first[n].ndim else second[n]) for n in first)


@pytest.mark.parametrize("kind", ["trajworld", "tdm"])
def test_a_pretrained_model_takes_any_environment(workdir, kind):
    path = copy_of(kind, workdir, universal)
    importer.import_file(path, kind, workdir / "model")
    model = wmzoo.load("model")
    assert model.variates == {} and model.official
    window = hopper_window()
    prediction = model.predict(window)
    assert prediction.mean.shape == (3, 12) and bool(prediction.mean.isfinite().all())
    imagined = model.rollout(window, lambda states: states[:, :3], 12)
    assert imagined.values.shape == (3, 12, 12) and imagined.values.abs().max() <= 1
    found = pickles.read(exporter.export("model", "official", workdir / "out")[0])
    assert found["max_values"] == 1 + 1e-5 and found["min_values"] == 0 - 1e-5


def test_a_pretrained_model_is_evaluated_on_the_carts_without_a_corpus(workdir, capsys):
    importer.import_file(copy_of("trajworld", workdir, universal), "trajworld", workdir / "model")
    few = ["episodes=2", "ranges=2", "context=3", "horizon=2"]
    assert cli.main(["evaluate", "model", "zero_shot/cartpoles/v1", *few, "--quiet"]) == 0
    assert "official" in capsys.readouterr().out


def test_a_pretrained_tdm_reads_its_padding_as_the_released_one_does(workdir):
    importer.import_file(copy_of("tdm", workdir, universal), "tdm", workdir / "model")
    model, window = wmzoo.load("model"), hopper_window()
    padded = model.predict(window).mean
    model.backbone.first.multiple = 1
    assert (model.predict(window).mean - padded).abs().max() > 1e-4


def test_a_pretrained_ensemble_reads_and_predicts_ranges(workdir):
    path = copy_of("mlp_ensemble", workdir)
    for name in ("mu", "std"):
        np.save(workdir / f"{name}.npy", np.array(None))
    importer.import_file(path, "mlp_ensemble", workdir / "model")
    model, window = wmzoo.load("model"), hopper_window(rows=1)
    settings = model.recipe.model
    assert settings.tokenizer.config.units == settings.head.config.units == "range"
    prediction = model.predict(window)
    # A state moves by a tenth of the predicted share of its range; the reward is a share of the range itself.
    with torch.no_grad():
        raw = model.parameters_of(window)[:, :, 0, :12][model.elites]
    low, span = -1.0, 2.0
    torch.testing.assert_close(prediction.means[..., :11], window.values[:, 0, :11] + raw[..., :11, 0] * span / 10)
    torch.testing.assert_close(prediction.means[..., 11], low + raw[..., 11, 0] * span)
    written = exporter.export("model", "official", workdir / "out")
    assert pickles.read_array(written[1]) is None


def test_what_the_files_do_not_tell(workdir):
    importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "guessed")
    assert wmzoo.load("guessed").variates["environment"].states == 11
    importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "named", importer.Told(environment="hopper"))
    assert wmzoo.load("named").variates["hopper"].names[0] == "qpos:rootz"
    for told, said in (
        (importer.Told(environment="walker2d"), "walker2d has 24 variates, 17 of them states; the file has 15"),
        (importer.Told(environment="hoper"), 'Did you mean "hopper"'),
        (importer.Told(states=15), "--states: 15 does not fit 15 columns"),
    ):
        with pytest.raises(WmzooError, match=said):
            importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "none", told)
    path = copy_of("trajworld", workdir, lambda t: t.update(max_values=np.ones(9, "f4"), min_values=np.zeros(9, "f4")))
    with pytest.raises(WmzooError, match="does not say which are states; add --states N"):
        importer.import_file(path, "trajworld", workdir / "none")
    assert not (workdir / "none").exists()


def test_padding_of_the_ensemble_is_found_by_its_scale(workdir):
    importer.import_file(SOURCES["mlp_ensemble"], "mlp_ensemble", workdir / "model")
    variates = wmzoo.load("model").variates["environment"]
    assert (variates.states, variates.actions) == (11, 3)
    assert wmzoo.load("model").elites.tolist() == pickles.read(SOURCES["mlp_ensemble"])["elites"].tolist()


def without(tree, *names_):
    group = tree["params"]["params"]
    for name in names_[:-1]:
        group = group[name]
    return group.pop(names_[-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: without(t, "head", "bias"), [r"lacks head/bias \[256\]"]),
        (lambda t: t["params"]["params"].update(spare=np.ones(2, "f4")), ["holds what the model has not: spare"]),
        (
            lambda t: t["params"]["params"]["head"].update(bias=np.ones(7, "f4")),
            [r"does not fit: head/bias is \[7\], not \[256\]"],
        ),
        (
            lambda t: t["params"]["params"]["head"].update(bias=np.ones(256, "f8")),
            ["head/bias is float64, not float32"],
        ),
        (
            lambda t: (without(t, "head", "bias"), without(t, "blocks_1", "Dense_0", "kernel")),
            [r"lacks blocks_1/Dense_0/kernel \[32, 128\], head/bias \[256\]"],
        ),
        (lambda t: without(t, "blocks_0"), ["lacks blocks_0/.*blocks_0/Dense_3/kernel"]),
        (
            lambda t: t["params"]["params"]["head"].update(temperature=1.0),
            ["holds what the model has not: head/temperature"],
        ),
        (lambda t: t.pop("max_values"), ["lacks max_values"]),
        (lambda t: t.pop("params"), ["lacks the dictionary params"]),
        (lambda t: without(t, "embed_timestep"), ["embed_timestep/embedding is missing"]),
        (lambda t: t.update(max_values=np.ones(3, "f4")), [r"min_values has shape \[15\], max_values \[3\]"]),
        (lambda t: t.update(max_values=np.full(15, np.nan, "f4")), ["max_values must be a finite number"]),
    ],
)
def test_a_file_of_another_structure_is_refused_with_the_list(workdir, change, said):
    path = copy_of("trajworld", workdir, change)
    with pytest.raises(WmzooError) as refused:
        importer.import_file(path, "trajworld", workdir / "model", HOPPER)
    for text in said:
        assert refused.match(text)
    assert not (workdir / "model").exists() and not (workdir / "mlflow.db").exists()


def test_an_ensemble_of_another_structure_is_refused(workdir):
    for change, said in (
        (lambda t: t.pop("elites"), "lacks elites"),
        (lambda t: t.update(elites=np.array([0, 9])), "clash"),
        (lambda t: without(t, "max_logvar"), r"lacks max_logvar \[91\]"),
    ):
        path = copy_of("mlp_ensemble", workdir, change)
        with pytest.raises(WmzooError, match=said):
            importer.import_file(path, "mlp_ensemble", workdir / "model")
    path = copy_of("mlp_ensemble", workdir)
    np.save(workdir / "mu.npy", np.zeros((1, 5), "f4"))
    with pytest.raises(WmzooError, match=r"mu\.npy: is \[1, 5\], but the weights take \[1, 120\]"):
        importer.import_file(path, "mlp_ensemble", workdir / "model")
    (workdir / "std.npy").unlink()
    with pytest.raises(WmzooError, match=r"std\.npy: can't be read .* it belongs beside the checkpoint"):
        importer.import_file(path, "mlp_ensemble", workdir / "model")


def test_the_command_line(workdir, capsys):
    for words, said in (
        (["import", "none.pkl", "--as", "trajworld", "--out", "m"], "none.pkl: can't be read"),
        (["import", str(SOURCES["tdm"]), "--as", "tmd", "--out", "m"], 'Did you mean "tdm"'),
        (["import", str(SOURCES["tdm"]), "--as", "mlp_ensemble", "--out", "m"], "import it --as tdm"),
        (
            ["import", str(SOURCES["tdm"]), "--as", "trajworld", "--out", "m"],
            "so it is no trajworld; import it --as tdm",
        ),
        (
            ["import", str(SOURCES["tdm"]), "--as", "tdm", "--out", "m", "model.backbone.haeds=2"],
            'Did you mean "heads"',
        ),
        (["export", "m", "--as", "official"], "no run and no checkpoint"),
        (["evaluate", "m", "transition/v1"], "no run and no checkpoint"),
    ):
        assert cli.main(words) == 2
        assert said in capsys.readouterr().err
    assert not (workdir / "m").exists()
    assert cli.main(["import", str(SOURCES["tdm"]), "--as", "tdm", "--out", "m", "--states", "11"]) == 0
    assert cli.main(["import", str(SOURCES["tdm"]), "--as", "tdm", "--out", "m", "--states", "11"]) == 2
    assert "holds a model already" in capsys.readouterr().err
    assert cli.main(["evaluate", "m", "transition/v1"]) == 2
    assert "add --corpus FILE and --sets" in capsys.readouterr().err
    assert cli.main(["export", "m", "--as", "offical"]) == 2
    assert 'Did you mean "official"' in capsys.readouterr().err
    assert cli.main(["export", "m", "--as", "official"]) == 0
    assert "exported/trm_dynamics.pkl" in capsys.readouterr().out


def hopper_corpus(workdir):
    return system_corpus(
        workdir / "h.h5", make=planted_episode, environment="hopper", level="medium", states=11, actions=3
    )


def test_an_imported_model_is_evaluated_and_fine_tuned_like_any_other(workdir, capsys):
    hopper_corpus(workdir)
    importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "model", HOPPER)
    words = ["evaluate", "model", "transition/v1", "windows=40", "rollouts=8", "--quiet", "--corpus", "h.h5"]
    assert cli.main([*words, "--sets", "hopper/medium"]) == 0
    result = read_json(workdir / "model" / "transition-v1.json")
    assert result["compat"] == "official" and result["trained_on"] == []
    assert result["tests"]["hopper/medium"]["distribution"] == "out"
    assert cli.main(["compare", "imported"]) == 0
    assert "trajworld, official" in capsys.readouterr().out
    shutil.copyfile(recipes.folder() / "finetune.yaml", workdir / "tune.yaml")
    settings = [
        "init_from=model", "data.corpus=h.h5", "train.steps=12", "train.warmup=2", "train.learning_rate=1e-3",
        "train.batch_size=8", "train.validate_every=6", "train.validation_windows=16",
    ]  # fmt: skip
    recipe = recipes.load("tune.yaml", settings)
    assert recipe.model.backbone.config.width == 32 and compat.label(recipe) == "official"
    assert recipe.train.cosine == 10_000_000 and recipe.data.widen == 1e-5
    folder = training.train(recipe, quiet=True)
    tuned, first = wmzoo.load(folder), wmzoo.load("model")
    assert tuned.variates["hopper"].names[0] == "x0"
    moved = [(a - b).abs().max() for a, b in zip(tuned.parameters(), first.parameters(), strict=True)]
    assert 0 < max(moved) < 0.05  # a few small steps away from where it started
    corrected = recipes.load("tune.yaml", [*settings, "compat=corrected"])
    shutil.rmtree(workdir / "model")
    assert torch.equal(wmzoo.load(folder).tokenizer(*inputs_of(tuned)), tuned.tokenizer(*inputs_of(tuned)))
    with pytest.raises(WmzooError, match="no run and no checkpoint"):
        report.print_check(recipes.Source(recipe.to_dict(), {}))
    assert not corrected.model.backbone.config.count_padding and compat.label(corrected) == "corrected"


def inputs_of(model):
    window = window_of(own_rows(model), model.variates["hopper"])
    return window.values, window.columns


def test_a_start_that_does_not_fit_is_refused(workdir):
    hopper_corpus(workdir)
    importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "model", HOPPER)
    settings = ["init_from=model", "data.corpus=h.h5", "data.environments=[hopper/medium]"]
    with pytest.raises(WmzooError, match="does not fit the recipe's model in .* arrays"):
        training.train(recipes.load("trajworld-cpu", settings), quiet=True)
    with pytest.raises(WmzooError, match=r"init_from: nowhere: no run and no checkpoint"):
        recipes.load("finetune", ["init_from=nowhere"])
    assert not (workdir / "runs").exists()


def test_models_that_the_format_can_not_hold_are_refused(workdir):
    hopper_corpus(workdir)
    data = ["data.corpus=h.h5", "data.environments=[hopper/medium]", "train.steps=1", "train.validation_windows=8"]
    for name, settings, said in (
        ("tdm-cpu", ["model.backbone.width=32"], "has a variate embedding; train it with compat=official"),
        ("mlp_ensemble-cpu", [], "reads deviations and predicts deviations; train it with compat=official"),
        ("trajworld-cpu", ["model.backbone.members=2", "model.backbone.width=32"], "has several members"),
        ("trajworld-cpu", ["model.tokenizer.sigma=1.0", "model.backbone.width=32"], "another sigma than 0.75"),
        ("trajworld-cpu", ["model.head.name=gaussian", "model.backbone.width=32"], "its head is gaussian"),
    ):
        folder = training.train(recipes.load(name, [*data, *settings]), quiet=True)
        with pytest.raises(WmzooError, match=said):
            exporter.export(str(folder), "official", workdir / "out")
    assert not (workdir / "out").exists()


@pytest.mark.parametrize("name", ["trajworld-cpu", "tdm-cpu", "mlp_ensemble-cpu"])
def test_a_model_trained_here_goes_out_and_comes_back(workdir, name):
    hopper_corpus(workdir)
    width = ["model.backbone.width=32"]
    data = ["data.corpus=h.h5", "data.environments=[hopper/medium]", "train.steps=2", "train.validation_windows=8"]
    folder = training.train(recipes.load(name, [*data, *width, "compat=official"]), quiet=True)
    path = exporter.export(str(folder), "official", workdir / "out")[0]
    kind = name.removesuffix("-cpu")
    importer.import_file(path, kind, workdir / "back", HOPPER, [])
    own, back = wmzoo.load(folder), wmzoo.load("back")
    window = window_of(own_rows(own), own.variates["hopper"])
    again = window_of(own_rows(own), back.variates["environment"])
    assert torch.equal(own.predict(window).mean, back.predict(again).mean)


def own_rows(model):
    """Rows inside the model's ranges."""
    variates = model.variates["hopper"]
    share = np.random.default_rng(0).uniform(size=(4, 5, len(variates.names)))
    return (variates.low + share * (variates.high - variates.low)).astype("f4")


def test_a_checkpoint_of_the_first_version_is_refused(workdir, monkeypatch):
    importer.import_file(SOURCES["trajworld"], "trajworld", workdir / "model", HOPPER)
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    with pytest.raises(WmzooError, match="not a checkpoint of this version"):
        wmzoo.load("model")
