"""Training: resumes to the bit, alike on one process or two, stops on a bad loss, refuses what is wrong."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from systems import SMALL, run_until, system_corpus, system_set, toy_recipe
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wmzoo import checkpoint, recipe, tracking, training
from wmzoo.data.store import open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.recipe import Source, check

DROPOUT = {"backbone": {"name": "trajworld", **SMALL["trajworld"], "dropout": 0.1}}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def toy(workdir, **changes):
    if not (workdir / "toy.h5").exists():
        system_corpus(workdir / "toy.h5")
    return check(Source(toy_recipe(**changes), {}))


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_loss_falls_and_everything_is_kept(workdir):
    folder = training.train(toy(workdir, train={"steps": 60, "validate_every": 20}), quiet=True)
    assert {p.name for p in folder.iterdir()} == {
        "best.safetensors", "last.safetensors", "history.csv", "manifest.json", "recipe.yaml", "run.json",
    }  # fmt: skip
    curve = losses(folder)
    assert len(curve) == 60 and sum(curve[-10:]) < 0.8 * sum(curve[:10])
    assert recipe.load(folder / "recipe.yaml") == checkpoint.load(folder).recipe


@pytest.mark.parametrize("backbone", ["trajworld", "mlp_ensemble"])
def test_killed_at_any_point_and_resumed_ends_with_the_same_bits(workdir, backbone):
    model = DROPOUT if backbone == "trajworld" else {}
    settings = toy_recipe(backbone=backbone, model=model)
    settings["train"] |= {"steps": 120 if backbone == "trajworld" else 300, "validate_every": 15, "warmup": 10}
    system_corpus(workdir / "toy.h5")
    (workdir / "toy.yaml").write_text(yaml.safe_dump(settings))
    whole = training.train(recipe.load("toy.yaml", ["tracking.folder=whole"]), quiet=True)
    command = [sys.executable, "-m", "wmzoo", "train", "toy.yaml", "--resume", "--quiet", "tracking.folder=killed"]
    kills = 0
    for delay in (0.0, 0.1):  # after the first checkpoint of each attempt
        process = subprocess.Popen(command, env=ENVIRONMENT, cwd=workdir)
        if not killed_after_a_checkpoint(process, workdir / "killed", delay):
            break  # it ended first
        kills += 1
    else:
        subprocess.run(command, env=ENVIRONMENT, cwd=workdir, check=True)
    (resumed,) = (workdir / "killed").glob("*/*")
    assert kills > 0
    for name in (checkpoint.LAST, checkpoint.BEST):
        a, b = (checkpoint.read(folder / name) for folder in (whole, resumed))
        assert a[0].keys() == b[0].keys() and a[1]["step"] == b[1]["step"]
        assert all(torch.equal(a[0][key], b[0][key]) for key in a[0])
    assert losses(whole) == losses(resumed)


def killed_after_a_checkpoint(process, folder: Path, delay: float) -> bool:
    """Wait until the process has written another checkpoint, then a little longer, then SIGKILL; false if it ended."""
    start = time.time()
    before = max((p.stat().st_mtime_ns for p in folder.glob("*/*/last.safetensors")), default=0)
    while process.poll() is None and time.time() - start < 120:
        now = max((p.stat().st_mtime_ns for p in folder.glob("*/*/last.safetensors")), default=0)
        if now > before:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.005)
    process.wait()
    return False


def test_heterogeneous_training_stops_and_resumes_with_the_same_bits(workdir, monkeypatch):
    data = {"environments": ["*"], "mixture": {"jat": 0.9, "dmc": 0.3}, "batch": "single_environment"}
    two_components(workdir)
    whole = training.train(toy(workdir, data=data, tracking={"folder": "whole"}), quiet=True)
    made = toy(workdir, data=data, tracking={"folder": "stopped"})
    trainer = training.Trainer(made)
    run_until(trainer, 13, monkeypatch)
    resumed = training.train(made, resume=True, quiet=True)
    a, b = (checkpoint.read(folder / checkpoint.LAST)[0] for folder in (whole, resumed))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (whole / "history.csv").read_text() == (resumed / "history.csv").read_text()


class NothingWaits(TorchDispatchMode):
    """Fails where a program would wait for a device that computes: to read a number, or to learn how many there are."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "repeat_interleave")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        masks = [index for index in indices if index is not None and index.dtype == torch.bool]
        assert name not in self.WAITING and not masks, f"{name} waits for the device"
        return function(*args, **(kwargs or {}))


class OneDevice(TorchDispatchMode):
    """Fails where tensors of two devices meet, which some operations on tensors without contents let pass."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors if x.ndim or x.device.type != "cpu"}  # a CPU's scalar is a number
        assert len(devices) < 2, f"{function} mixes {devices}"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
@pytest.mark.parametrize("backbone", SMALL)
def test_a_loss_on_another_device_is_all_there(workdir, backbone, head):
    two_components(workdir)
    trainer = training.Trainer(toy(workdir, data={"environments": ["*"]}, backbone=backbone, head=head))
    window, rows = trainer.sampler[0]
    parts = trainer.model.packed(window).to("meta")
    trainer.model.to("meta").kernel = "sdpa"
    with OneDevice():
        trainer.model.loss(parts, rows).total.backward()
    with OneDevice(), pytest.raises(AssertionError, match="mixes"):
        torch.ones(3) + torch.ones(3, device="meta")


@pytest.mark.parametrize("backbone", SMALL)
def test_a_step_on_the_device_waits_for_nothing(workdir, backbone):
    two_components(workdir)
    trainer = training.Trainer(toy(workdir, data={"environments": ["*"]}, backbone=backbone))
    window, rows = trainer.sampler[0]
    parts = [trainer.model.packed(window)]
    assert not window.dense and bool(parts[0].packed) == bool(trainer.model.packs)
    trainer._optimize(parts, rows, torch.zeros(()))  # the first one prepares what all others share
    with NothingWaits():
        trainer._optimize(parts, rows, torch.zeros(()))
    with NothingWaits(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3).sum().item()
    with NothingWaits(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3)[torch.ones(3) > 0]


@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("batch", ["mixed", "single_environment"])
def test_environments_of_different_widths_train_together(workdir, backbone, batch):
    two_components(workdir)
    data = {"environments": ["*"], "mixture": {"jat": 1, "dmc": 1}, "batch": batch}
    steps = 400 if backbone == "mlp_ensemble" else 60
    train = {"steps": steps, "validate_every": steps // 2}
    folder = training.train(toy(workdir, backbone=backbone, data=data, train=train), quiet=True)
    curve = losses(folder)
    assert sum(curve[-10:]) < 0.9 * sum(curve[:10])
    with (folder / "history.csv").open() as file:
        validated = [row for row in csv.DictReader(file) if row["validation_loss"]]
    assert len(validated) == 2
    first, last = validated[0], validated[-1]
    for component in ("jat", "dmc"):
        assert float(last[f"validation_loss/{component}"]) < float(first[f"validation_loss/{component}"])


def test_validation_by_component_adds_up(workdir):
    two_components(workdir)
    trainer = training.Trainer(toy(workdir, backbone="mlp_ensemble", data={"environments": ["*"]}))
    members, components = trainer.validate()
    rows = {name: 0 for name in components}
    for item, part in zip(trainer.data.items, trainer.data.splits, strict=True):
        for episode in part.validation:  # every row after the first ends a window of at most 6 rows
            steps = np.arange(1, item.lengths[episode])
            rows[item.component] += int(np.minimum(steps, 5).sum())
    total = sum(components[name] * rows[name] for name in rows) / sum(rows.values())
    torch.testing.assert_close(members, total)
    assert sorted(components) == ["dmc", "jat"] and not torch.equal(components["dmc"], components["jat"])


def two_components(workdir):
    """The corpus of these tests: three environments of different widths in two components."""
    sets = [
        system_set(component="jat"),
        system_set(environment="wide", states=5, actions=3, component="dmc", seed=1),
        system_set(environment="thin", states=1, actions=1, component="dmc", seed=2),
    ]
    write_corpus(workdir / "toy.h5", sets, {"made": "for a test"})


def test_two_gloo_processes_give_the_loss_curve_of_one(workdir):
    system_corpus(workdir / "toy.h5")
    (workdir / "toy.yaml").write_text(yaml.safe_dump(toy_recipe(train={"steps": 30})))
    alone = training.train(recipe.load("toy.yaml", ["tracking.folder=alone"]), quiet=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "wmzoo", "train", "toy.yaml", "--quiet", "tracking.folder=two"]
    subprocess.run(command, env=ENVIRONMENT, cwd=workdir, check=True, timeout=300)
    (two,) = (workdir / "two").glob("*/*")
    torch.testing.assert_close(torch.tensor(losses(two)), torch.tensor(losses(alone)), rtol=1e-4, atol=1e-5)


def test_accumulating_a_batch_in_parts_gives_the_same_curve(workdir):
    curves = [losses(training.train(toy(workdir, train={"accumulate": parts}), quiet=True)) for parts in (1, 4)]
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_with_its_window_and_keeps_the_last_checkpoint(workdir, monkeypatch):
    made = toy(workdir, train={"steps": 40, "validate_every": 10})
    trainer = training.Trainer(made)
    update = trainer.update

    def poisoned(window, rows):
        if trainer.step == 25:
            window.values[3, -1, 0] = float("nan")
        return update(window, rows)

    monkeypatch.setattr(trainer, "update", poisoned)
    with pytest.raises(WmzooError) as caught:
        trainer.run(quiet=True)
    (sentence,) = caught.value.problems
    assert "stopped at step 25" in sentence and "window of toy/a, episode" in sentence and "learning_rate" in sentence
    kept = checkpoint.read(trainer.folder / checkpoint.LAST)[1]
    assert kept["step"] == 20
    store = tracking.client("sqlite:///mlflow.db")
    assert store.get_run(trainer.run_id).info.status == "FAILED"
    resumed = training.train(made, resume=True, quiet=True)
    assert checkpoint.read(resumed / checkpoint.LAST)[1]["step"] == 40
    assert store.get_run(trainer.run_id).info.status == "FINISHED"


def test_elites_are_the_members_with_the_least_validation_loss(workdir):
    model = {"backbone": {"name": "mlp_ensemble", **SMALL["mlp_ensemble"], "members": 4, "elites": 2}}
    trainer = training.Trainer(toy(workdir, backbone="mlp_ensemble", model=model))
    trainer.run(quiet=True)
    assert trainer.model.elites.tolist() == sorted(trainer.validate()[0].argsort()[:2].tolist())


def test_bootstrapped_members_see_their_own_rows(workdir):
    from wmzoo.backbone import bootstrap_weights

    rows = torch.arange(20_000).reshape(100, 200)
    weights = bootstrap_weights(rows, 3, seed=5)
    assert weights.mean().item() == pytest.approx(1.0, abs=0.02)
    assert weights.var().item() == pytest.approx(1.0, abs=0.05)
    assert (weights == 0).float().mean().item() == pytest.approx(0.368, abs=0.01)
    assert torch.corrcoef(weights.reshape(3, -1)).triu(1).abs().max() < 0.03
    assert torch.equal(weights[:, 40:50], bootstrap_weights(rows[40:50], 3, seed=5))
    assert not torch.equal(weights, bootstrap_weights(rows, 3, seed=6))


@pytest.mark.parametrize("name", ["sgd", "adam", "radam", "lion"])
def test_optimizers_of_torch_and_timm(workdir, name):
    folder = training.train(toy(workdir, train={"optimizer": name, "steps": 4, "validate_every": 2}), quiet=True)
    assert (folder / checkpoint.BEST).is_file()


@pytest.mark.parametrize("backbone", ["trajworld", "tdm", "mlp_ensemble"])
def test_fast_ways_end_where_the_reference_does(workdir, backbone):
    """Fused kernels to rounding; bf16 within what a seed changes, at the end of a training that learns."""
    ends = {}
    for way in ({"attention": "einsum"}, {}, {"precision": "bf16"}):
        for seed in range(3):
            train, where = {"steps": 80, "validate_every": 80, **way}, {"folder": "-".join(["runs", *way])}
            made = toy(workdir, backbone=backbone, train=train, seed=seed, tracking=where)
            trainer = training.Trainer(made)
            before = float(trainer.validate()[0].mean())
            trainer.run(quiet=True)
            ends.setdefault("-".join(way), []).append(trainer.best)
            assert trainer.best < before - 0.3
    reference, fused, rounded = map(np.array, ends.values())
    np.testing.assert_allclose(fused, reference, rtol=2e-3)
    assert abs((rounded - reference).mean()) < reference.std(ddof=1)


def test_episodes_that_an_earlier_run_learned_from_are_no_test(workdir):
    from wmzoo.evaluation import cells

    def chosen(folder):
        model, manifest = checkpoint.load(folder), read_json(folder / "manifest.json")
        return cells.choose(open_corpus(workdir / "toy.h5"), manifest, model.variates)

    first = training.train(toy(workdir), quiet=True)
    assert chosen(first)
    other = {"data": {"split": {"seed": 1}}, "init_from": str(first)}
    second = training.train(toy(workdir, **other), quiet=True)
    third = training.train(toy(workdir, init_from=str(second), train={"steps": 0}), quiet=True)
    for folder in (second, third):
        with pytest.raises(WmzooError, match="one that it started from, was trained or validated on episode"):
            chosen(folder)
    assert chosen(training.train(toy(workdir, init_from=str(first), train={"steps": 0}), quiet=True))


def test_without_a_step_the_weights_stay_and_are_evaluated(workdir):
    from wmzoo.report import print_evaluation

    first = training.train(toy(workdir), quiet=True)
    zero = training.train(toy(workdir, init_from=str(first), train={"steps": 0}, name="zero"), quiet=True)
    a, b = checkpoint.load(first).state_dict(), checkpoint.load(zero).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    (row,) = csv.DictReader((zero / "history.csv").open())
    assert float(row["step"]) == 0 and np.isfinite(float(row["validation_loss"]))
    print_evaluation(
        str(zero), "transition/v1", ["windows=16", "rollouts=4", "context=5", "horizons=[1,5]"], quiet=True
    )
    with pytest.raises(WmzooError, match="already trained"):
        training.train(toy(workdir, init_from=str(first), train={"steps": 0}, name="zero"), resume=True, quiet=True)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler on a CPU")
def test_compiled_training_gives_the_same_curve(workdir):
    train = {"steps": 4, "validate_every": 2}
    curves = [losses(training.train(toy(workdir, train={**train, "compile": c}), quiet=True)) for c in (False, True)]
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=1e-3, atol=1e-4)


def test_schedule_rises_then_falls(workdir):
    made = toy(workdir, train={"steps": 100, "warmup": 10, "learning_rate": 1.0})
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = training.make_schedule(optimizer, made.train)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0 and rates[5] == pytest.approx(0.5) and rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5, abs=0.02) and rates[-1] < 0.001


def test_a_constant_schedule_stays(workdir):
    made = toy(workdir, train={"steps": 50, "warmup": 5, "learning_rate": 1.0, "schedule": "constant"})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = training.make_schedule(optimizer, made.train)
    for _ in range(30):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == 1.0


def test_what_is_refused(workdir):
    made = toy(workdir)
    folder = training.train(made, quiet=True)
    for arguments, sentence in (({}, "already trained"), ({"resume": True}, "already trained")):
        with pytest.raises(WmzooError, match=sentence):
            training.train(made, quiet=True, **arguments)
    for settings, sentence in (
        ({"optimizer": "adamm"}, 'Did you mean "adam"'),
        ({"device": "cuda"}, "not available here")
        if not torch.cuda.is_available()
        else ({"optimizer": ""}, "not known"),
        ({"attention": "xformers", "device": "cpu"}, "no kernel for cpu"),
    ):
        with pytest.raises(WmzooError, match=sentence):
            training.train(toy(workdir, train=settings), quiet=True)
    assert [p.name for p in (workdir / "runs" / "toy").iterdir()] == [folder.name], "a refused run leaves nothing"
    (workdir / "file").write_text("")
    with pytest.raises(WmzooError, match="can't be written"):
        training.train(toy(workdir, tracking={"folder": "file"}), quiet=True)
    (folder / "run.json").write_text('{"status": "running", "mlflow_run_id": "x"}')
    with pytest.raises(WmzooError, match="an unfinished run; add --resume"):
        training.train(made, quiet=True)


def test_a_checkpoint_of_another_recipe_or_changed_data_is_not_resumed(workdir):
    made = toy(workdir)
    folder = training.train(made, quiet=True)
    status = (folder / "run.json").read_text().replace("finished", "running")
    (folder / "run.json").write_text(status)
    other = training.train(toy(workdir, seed=1), quiet=True)
    own = (folder / checkpoint.LAST).read_bytes()
    (folder / checkpoint.LAST).write_bytes((other / checkpoint.LAST).read_bytes())
    with pytest.raises(WmzooError, match="a checkpoint of another recipe"):
        training.train(made, resume=True, quiet=True)
    (folder / checkpoint.LAST).write_bytes(own)
    system_corpus(workdir / "toy.h5", seed=3)
    with pytest.raises(WmzooError, match="corpus or its split has changed"):
        training.train(made, resume=True, quiet=True)


@pytest.mark.parametrize("backbone", ["trajworld", "tdm"])
def test_blocks_computed_again_give_the_same_weights_for_less_memory(workdir, backbone):
    ends, saved = [], []
    for again in (False, True):
        made = toy(workdir, backbone=backbone, train={"recompute": again}, tracking={"folder": f"again{again}"})
        trainer = training.Trainer(made)
        kept: list[torch.Tensor] = []

        def keep(tensor, kept=kept):
            kept.append(tensor)
            return tensor

        window, rows = trainer.sampler[0]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainer.update(window, rows)
        saved.append(sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in kept}.values()))
        for number in range(1, 4):
            trainer.step = number
            trainer.update(*trainer.sampler[number])
        ends.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-5, atol=1e-6)
    assert saved[1] < 0.6 * saved[0]


def test_a_backbone_without_blocks_can_not_compute_them_again(workdir):
    made = toy(workdir, backbone="mlp_ensemble", tokenizer="continuous", head="gaussian", train={"recompute": True})
    with pytest.raises(WmzooError, match="train.recompute: MLPEnsemble is not made of blocks"):
        training.Trainer(made)


def test_peak_memory_is_that_of_the_process_alone_whoever_started_it():
    code = "import torch; from wmzoo.training import peak_memory_mb; print(peak_memory_mb(torch.device('cpu')))"
    held = np.ones(2**27)  # 1 GB
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(ran.stdout) < held.nbytes / 1e6
