"""The same weights must give the same answers: wmzoo beside recorded answers of the released TrajWorld program.

A golden folder holds a released checkpoint, inputs, and what the released JAX program computed with them (float32, and
float64 where named so). Arrays may be thinned along their last axis. Run on other folders of the same format:

    python tests/released/golden.py FOLDER [FOLDER ...]
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wmzoo import load
from wmzoo.binning import bin_index, support
from wmzoo.model import WorldModel
from wmzoo.recipe import load as load_recipe
from wmzoo.released import importer, names, pickles
from wmzoo.training import make_optimizer, make_schedule
from wmzoo.trajectories import Window, window_of


@dataclass(frozen=True)
class Check:
    """One comparison: the largest difference found, and the largest that is allowed."""

    name: str
    difference: float
    allowed: float

    @property
    def ok(self) -> bool:
        return self.difference <= self.allowed


class Golden:
    """A golden folder, imported.

    Args:
        folder: with a checkpoint and its ``.npz`` files.
        scratch: where the imported model is written.
    """

    def __init__(self, folder: Path, scratch: Path):
        self.folder = folder
        self.ensemble = (folder / "mlp_dynamics.pkl").is_file()
        self.kind = "mlp_ensemble" if self.ensemble else self._sequence_kind()
        states = self["data"]["obs"].shape[1] if self.ensemble else self._states()
        settings = [f"tracking.uri=sqlite:///{scratch}/mlflow.db"]
        heads = json.loads((folder / "config.json").read_text())["n_heads"]
        settings += [] if self.ensemble else [f"model.backbone.heads={heads}"]
        out = scratch / folder.name
        importer.import_file(self.checkpoint, self.kind, out, importer.Told(states=states), settings)
        self.model = load(out)

    @property
    def checkpoint(self) -> Path:
        return self.folder / ("mlp_dynamics.pkl" if self.ensemble else "trm_dynamics.pkl")

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    def _sequence_kind(self) -> str:
        params = pickles.read(self.checkpoint)["params"]["params"]
        return "trajworld" if "embed_variate" in params else "tdm"

    def _states(self) -> int:
        return int((self["inputs"]["obs_act_indicator"][0, 0] == 0).sum()) - 1

    def window(self, values: np.ndarray, masks: np.ndarray | None = None) -> Window:
        (variates,) = self.model.variates.values()
        return window_of(values, variates, None if masks is None else torch.from_numpy(masks > 0))

    @property
    def span(self) -> np.ndarray:
        """``[M]`` ranges of the variates."""
        (variates,) = self.model.variates.values()
        return variates.high - variates.low

    @property
    def predicted(self) -> int:
        """Number of states and the reward."""
        (variates,) = self.model.variates.values()
        return variates.predicted


def _apart(found: torch.Tensor | np.ndarray, wanted: np.ndarray, where: np.ndarray | None = None) -> float:
    """The largest difference, of the entries along the last axis that were recorded."""
    found = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found, np.float64)
    found = found[..., :: found.shape[-1] // wanted.shape[-1]] if found.ndim else found
    difference = np.abs(found - wanted)
    return float((difference if where is None else difference[where]).max())


def _relative(found: torch.Tensor | np.ndarray | float, wanted: np.ndarray | float) -> float:
    """The largest difference over the largest value."""
    wanted = np.asarray(wanted, np.float64)
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / np.abs(wanted).max())


# --- sequence models -------------------------------------------------------------------------------------------


def _inputs(golden: Golden) -> tuple[Window, np.ndarray]:
    given = golden["inputs"]
    return golden.window(given["histories"], given["masks"]), given["masks"] > 0


def _places(model: WorldModel, window: Window, tokens: torch.Tensor) -> torch.Tensor:
    """Logits ``[B, T, M, K]`` of each place: of the next row, or, of a TDM, of the next scalar."""
    with torch.no_grad():
        backbone = model.backbone.each(0)
        return backbone.advance(tokens, model.layout(window), backbone.memory(*tokens.shape[1:3]))[0]


def _clipped(window: Window) -> torch.Tensor:
    return window.values.clamp(window.columns.low[:, None], window.columns.high[:, None])


def tokens(golden: Golden) -> Iterator[Check]:
    """Gaussian histograms of plain and of clipped values, and the bins of targets."""
    window, _ = _inputs(golden)
    recorded, model = golden["tokens"], golden.model
    yield Check("tokens", _apart(model.tokenizer(window.values, window.columns), recorded["gauss"]), 2e-6)
    clipped = model.tokenizer(_clipped(window), window.columns)
    if "gauss_clipped" in recorded:
        yield Check("tokens of clipped values", _apart(clipped, recorded["gauss_clipped"]), 2e-6)
    low, high = (edge[:, None] for edge in support(window.columns, 0.0))
    unit = ((window.values - low) / (high - low + model.head.config.epsilon)).clamp(0, 1)
    bins = bin_index(unit, model.head.config.bins).numpy()
    place = unit.numpy() * model.head.config.bins
    clear = np.abs(place - place.round()) > 1e-6 * model.head.config.bins
    yield Check("target bins that differ", float((bins != recorded["target_bin"])[clear].sum()), 0)


def logits(golden: Golden) -> Iterator[Check]:
    """Logits, and whether they are as near to exact ones as the released program's own."""
    window, real = _inputs(golden)
    recorded, exact = golden["outputs"], golden["outputs_f64"]["logits"]
    allowed = 2e-4 if golden.kind == "trajworld" else 3e-4
    found = _places(golden.model, window, golden.model.tokenizer(window.values, window.columns))
    yield Check("logits", _apart(found, recorded["logits"], real), allowed)
    theirs = _apart(recorded["logits"], exact, real)
    yield Check("logits' error over the released float32's", _apart(found, exact, real) / theirs, 3)
    if "logits_clipped_inputs" in recorded:
        clipped = _places(golden.model, window, golden.model.tokenizer(_clipped(window), window.columns))
        yield Check("logits of clipped values", _apart(clipped, recorded["logits_clipped_inputs"], real), allowed)


def layers(golden: Golden) -> Iterator[Check]:
    """Hidden states, from the bottom up, so that a failure names the layer."""
    window, real = _inputs(golden)
    backbone, recorded, seen = golden.model.backbone.each(0), golden["hidden"], {}
    tdm = golden.kind == "tdm"
    first = backbone.blocks[0]
    places = {"embed_proj_out": backbone.embed.project}
    places["block_0_temporal_attn_out"] = (first.attention if tdm else first.temporal).out
    places |= {} if tdm else {"block_0_variate_attn_out": first.across.out}
    places |= {f"block_{i}_out": block for i, block in enumerate(backbone.blocks)}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, given: object, out: object) -> None:
            seen[name] = out[0] if isinstance(out, tuple) else out

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in places.items()]
    _places(golden.model, window, golden.model.tokenizer(window.values, window.columns))
    for hook in hooks:
        hook.remove()
    batch, time, columns = window.values.shape
    width = backbone.head.in_features
    for name in places:
        if name not in recorded:
            continue
        by_column = name.endswith("temporal_attn_out") and not tdm
        shape = (batch, columns, time, width) if by_column else (batch, time, columns, width)
        found = seen[name].reshape(shape)
        wanted = recorded[name].reshape(*shape[:3], -1)
        found, wanted = (found.transpose(1, 2), wanted.swapaxes(1, 2)) if by_column else (found, wanted)
        yield Check(name, _apart(found, wanted, real), 1e-4)


def values(golden: Golden) -> Iterator[Check]:
    """Decoded expectations, and one step through the model's own verb."""
    window, real = _inputs(golden)
    found = _places(golden.model, window, golden.model.tokenizer(window.values, window.columns))
    # A TDM's place predicts the next scalar, so the next column's bins read it.
    shift = -1 if golden.kind == "tdm" else 0
    low, high = (edge.roll(shift, 1)[:, None] for edge in support(window.columns, 0.0))
    centres = (torch.arange(found.shape[-1]) + 0.5) / found.shape[-1]
    decoded = low + (high - low) * (found.softmax(-1) @ centres)
    difference = np.abs(decoded.numpy() - golden["outputs"]["pred_values"]) / np.roll(golden.span, shift)
    yield Check("decoded values, of the range", float(difference[real].max()), 1e-4)
    if (golden.folder / "step.npz").is_file():
        recorded = golden["step"]
        given = golden["inputs"]
        last = golden.window(given["histories"][:, 1:], given["masks"][:, 1:])
        mean = golden.model.predict(dataclasses.replace(last, values=_clipped(last))).mean.numpy()
        wanted = np.concatenate([recorded["next_obs"], recorded["raw_reward"]], 1)
        difference = np.abs(mean - wanted) / golden.span[: golden.predicted]
        yield Check("a step, of the range", float(difference.max()), 1e-4)


def cache(golden: Golden) -> Iterator[Check]:
    """Ten rows at once, then nine row by row with the cache, beside the released cache and the whole window."""
    window, real = _inputs(golden)
    model, backbone = golden.model, golden.model.backbone.each(0)
    given = model.tokenizer(_clipped(window), window.columns)
    rows, past = [], backbone.memory(19, given.shape[2])
    with torch.no_grad():
        for start, stop in ((0, 10), *((t, t + 1) for t in range(10, 19))):
            out, past = backbone.advance(given[:, start:stop], model.layout(window.until(stop)), past)
            rows.append(out)
    found = torch.cat(rows, 1)
    allowed = 2e-4 if golden.kind == "trajworld" else 3e-4
    yield Check("cached logits", _apart(found, golden["kv_cache"]["logits"], real[:, :19]), allowed)
    whole = _places(model, window.until(19), given[:, :19]).numpy()
    yield Check("cached beside whole", _apart(found, whole, real[:, :19]), allowed)


def pretraining(golden: Golden) -> Iterator[Check]:
    """The universal path: values in [0, 1], columns padded to a multiple of 31."""
    recorded = golden["pretrain_path"]
    (variates,) = golden.model.variates.values()
    unit = {"low": np.zeros_like(variates.low), "high": np.ones_like(variates.high)}
    universal = type(variates)(**{**vars(variates), **unit})
    masks = golden["inputs"]["masks"]
    window = window_of(recorded["history01"], universal, torch.from_numpy(masks > 0))
    trained = _trainer(golden)[0]
    trained.backbone.first.multiple = 31
    with torch.no_grad():
        loss = float(trained.loss(window).total)
        first = trained.eval().parameters_of(window, own=trained.autoregressive)[0]
    wanted = recorded["logits"]
    # A model's own call gives the next row's logits; of a TDM, those of each cell, recorded one place earlier.
    if golden.kind == "tdm":
        count = window.values.shape[2]
        found, wanted = first[:, :, 1:count], wanted[:, :, : count - 1]
    else:
        count = min(wanted.shape[2], window.values.shape[2])
        found, wanted = first[:, :, :count], wanted[:, :, :count]
    allowed = 2e-4 if golden.kind == "trajworld" else 3e-4
    yield Check("pre-training logits", _apart(found, wanted, masks > 0), allowed)
    yield Check("pre-training loss, relative", _relative(loss, recorded["train_loss"]), 1e-5)


def _trainer(golden: Golden) -> tuple[WorldModel, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    settings = json.loads((golden.folder / "config.json").read_text())
    train = load_recipe(
        "trajworld",
        [
            f"train.learning_rate={settings['trm_lr']}",
            f"train.warmup={settings['trm_warmup_steps']}",
            f"train.cosine={settings['trm_max_steps']}",
            f"train.weight_decay={settings['trm_weight_decay']}",
            f"train.clip={settings['trm_clip_grads']}",
        ],
    ).train
    model = copy.deepcopy(golden.model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = settings["dropout_p"]
    optimizer = make_optimizer(model, train)
    return model, optimizer, make_schedule(optimizer, train)


def _clip(golden: Golden) -> float:
    return float(json.loads((golden.folder / "config.json").read_text())["trm_clip_grads"])


def training(golden: Golden) -> Iterator[Check]:
    """The losses of five updates, and the weights after them."""
    model, optimizer, schedule = _trainer(golden)
    window, _ = _inputs(golden)
    recorded, losses = golden["train"], []
    for _ in range(5):
        loss = model.loss(window).total
        losses.append(float(loss.detach()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _clip(golden))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    for i, (loss, wanted) in enumerate(zip(losses, recorded["losses"], strict=True)):
        yield Check(f"loss of update {i + 1}, relative", _relative(loss, wanted), 1e-4)
    after = _named(golden, model)
    found = [
        _apart(after[name], recorded[f"after5/{name}"])
        for name in after
        if f"after5/{name}" in recorded and not (name.endswith("Dense_1/bias") and "Attention" in name)
    ]
    if found:
        yield Check("weights after five updates", max(found), 1e-4)


def _named(golden: Golden, model: WorldModel, gradient: bool = False) -> dict[str, np.ndarray]:
    """Weights, or their gradients, under their released names."""
    state = {n: p.grad if gradient else p.detach() for n, p in model.named_parameters()}
    listed = names.leaves(model.recipe.model.backbone)
    return {leaf.released: leaf.write(state[leaf.own].numpy()) for leaf in listed}


def gradient(golden: Golden) -> Iterator[Check]:
    """The first gradient after clipping, of each array relative to its largest entry or a thousandth of all's."""
    model, _, _ = _trainer(golden)
    window, _ = _inputs(golden)
    model.loss(window).total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _clip(golden))
    recorded, worst = golden["grad"], 0.0
    wanted = {n.removeprefix("clipped_grad/"): g for n, g in recorded.items() if n.startswith("clipped_grad/")}
    largest = max(float(np.abs(g).max()) for g in wanted.values())
    found = _named(golden, model, gradient=True)
    for name, grad in wanted.items():
        rows = len(grad)  # a position table may be recorded up to the rows that are used
        scale = max(float(np.abs(grad).max()), 1e-3 * largest)
        worst = max(worst, float(np.abs(found[name][:rows] - grad).max()) / scale)
    yield Check("first gradient, relative", worst, 1e-4)


def forced(golden: Golden) -> Iterator[Check]:
    """Each row of the recorded rollout from the recorded rows before it; of a TDM, each scalar from those before it."""
    recorded = golden["rollout_open_loop"]
    given, start = _with_actions(recorded), recorded["init_histories"].shape[1]
    count, worst = golden.predicted, 0.0
    for t in range(start, given.shape[1]):
        window = golden.window(given[:, : t + 1], recorded["history_masks"][:, : t + 1])
        window = dataclasses.replace(window, values=_clipped(window))
        truth = window.values[:, -1, :count]
        mean = golden.model.predict(window.until(-1), truth).mean.numpy()
        wanted = given[:, t, :count]
        if golden.kind == "trajworld":  # its rows are kept as clipped
            (variates,) = golden.model.variates.values()
            mean = mean.clip(variates.low[:count], variates.high[:count])
        worst = max(worst, float((np.abs(mean - wanted) / golden.span[:count]).max()))
    yield Check("rollout steps from recorded rows, of the range", worst, 1e-4)


def _with_actions(recorded: dict[str, np.ndarray]) -> np.ndarray:
    """The recorded rows with the actions that led on from each of them."""
    given, start = recorded["histories"].copy(), recorded["init_histories"].shape[1]
    actions = recorded["actions"]
    given[:, start - 1 : start - 1 + actions.shape[1], -actions.shape[2] :] = actions
    return given


def _calm(golden: Golden) -> WorldModel:
    """The model with a smaller head, whose rollouts don't blow rounding up."""
    model = copy.deepcopy(golden.model)
    model.backbone.each(0).head.weight.data /= 6
    return model


def open_loop(golden: Golden) -> Iterator[Check]:
    """A free-running rollout along given actions."""
    recorded, model = golden["rollout_open_loop_calm"], _calm(golden)
    steps = recorded["actions"].shape[1]
    model.refresh = max(model.refresh, steps)  # recorded within one reading of the context
    window = golden.window(recorded["init_histories"], recorded["init_masks"])
    found = model.rollout(window, torch.from_numpy(recorded["actions"]), steps)
    yield from _rollout_checks(golden, "open loop", found.values.numpy(), recorded["histories"][:, -steps:], recorded)


def _rollout_checks(
    golden: Golden, name: str, found: np.ndarray, rows: np.ndarray, recorded: dict[str, np.ndarray]
) -> Iterator[Check]:
    count = found.shape[2] - 1
    states = np.abs(found[..., :count] - rows[..., :count]) / golden.span[:count]
    rewards = np.abs(found[..., -1] - recorded["rewards"]) / golden.span[count]
    yield Check(f"{name}, states, of the range", float(states.max()), 1e-3)
    yield Check(f"{name}, rewards, of the range", float(rewards.max()), 1e-3)


def closed_loop(golden: Golden) -> Iterator[Check]:
    """A free-running rollout of a policy from a first state."""
    recorded, model = golden["rollout_closed_loop_calm"], _calm(golden)
    policy = pickles.read(golden.folder / "policy_deterministic.pkl")
    steps, start = recorded["rewards"].shape[1], recorded["initial_states"]
    row = np.zeros((len(start), 1, len(golden.span)), np.float32)
    row[:, 0, : start.shape[1]] = start
    found = model.rollout(golden.window(row), lambda state: _act(policy, state), steps)
    if golden.kind == "tdm":
        rows = np.stack([recorded[f"histories_step{i}"][:, -1] for i in range(steps)], 1)
    else:
        rows = np.concatenate([recorded[f"histories_chunk{i}"][:, 10:] for i in range(steps // 10)], 1)
    yield from _rollout_checks(golden, "closed loop", found.values.numpy(), rows, recorded)


def _act(policy: pickles.Tree, state: torch.Tensor) -> torch.Tensor:
    """The action ``[B, n]`` of a DOPE policy without its noise."""

    def dense(name: str) -> torch.Tensor:
        weight, bias = (torch.from_numpy(np.array(policy[f"{name}/{part}"])) for part in ("weight", "bias"))
        return state @ weight.T + bias

    bend = torch.relu if policy["nonlinearity"] == "relu" else torch.tanh
    for name in ("fc0", "fc1"):
        state = bend(dense(name))
    return torch.tanh(dense("last_fc"))


# --- the ensemble ----------------------------------------------------------------------------------------------


def _transitions(golden: Golden) -> Window:
    """The recorded transitions as windows of two rows."""
    data = golden["data"]
    count, states = data["obs"].shape
    rows = np.zeros((count, 2, states + 1 + data["act"].shape[1]), np.float32)
    rows[:, 0, :states], rows[:, 0, states + 1 :] = data["obs"], data["act"]
    rows[:, 1, :states], rows[:, 1, states] = data["next_obs"], data["reward"]
    return golden.window(rows)


def _used(golden: Golden, array: np.ndarray) -> np.ndarray:
    """The real columns of a recorded output: states, and the reward, which comes last."""
    states = golden["data"]["obs"].shape[1]
    return np.concatenate([array[..., :states], array[..., -1:]], -1)


def moments(golden: Golden) -> Iterator[Check]:
    """Means and log-variances of all members."""
    model, recorded = golden.model, golden["outputs"]
    window = _transitions(golden).index(slice(0, recorded["mean"].shape[1]))
    count = window.columns.width
    with torch.no_grad():
        raw = model.parameters_of(window)[:, :, 0, :count]
        mean, log_variance = model.head._split(raw, window.columns.take(slice(count)))
    yield Check("means", _apart(mean, _used(golden, recorded["mean"])), 1e-5)
    yield Check("log-variances", _apart(log_variance, _used(golden, recorded["logvar"])), 1e-5)


def ensemble_step(golden: Golden) -> Iterator[Check]:
    """One imagined step with recorded noise and members."""
    model, recorded = golden.model, golden["outputs"]
    picked = recorded["step_member"]
    prediction = model.predict(_transitions(golden).index(slice(0, len(picked))).until(1))
    place = [model.elites.tolist().index(member) for member in picked]
    each = np.arange(len(picked))
    noise = _used(golden, recorded["step_noise"])[picked, each]
    found = prediction.means[place, each].numpy() + prediction.stds[place, each].numpy() * noise
    states = recorded["step_next_obs"].shape[1]
    yield Check("a step's states", _apart(found[:, :states], recorded["step_next_obs"]), 1e-4)
    yield Check("a step's rewards", _apart(found[:, states:], recorded["step_raw_reward"]), 1e-4)


def ensemble_training(golden: Golden) -> Iterator[Check]:
    """The losses of five updates on each member's own resampling."""
    settings = json.loads((golden.folder / "config.json").read_text())
    index, recorded = golden["data"]["bootstrap_idx"], golden["train"]
    model, window = copy.deepcopy(golden.model).train(), _transitions(golden)
    total = len(window)
    counts = np.stack([np.bincount(row, minlength=total) for row in index])
    weights = torch.from_numpy(counts * total / index.shape[1]).float()[..., None]
    model.objective._bootstrap = lambda *about: weights
    optimizer = torch.optim.Adam(model.parameters(), settings["dynamics_lr"])
    for i in range(5):
        loss = model.loss(window).total
        wanted = recorded["model_loss"][i]
        yield Check(f"loss of update {i + 1}, relative", _relative(float(loss.detach()), wanted), 1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


SEQUENCE = {
    "tokens": tokens,
    "logits": logits,
    "hidden states of every block": layers,
    "decoded values, of the range": values,
    "logits with a cache": cache,
    "pre-training path": pretraining,
    "losses of five updates, relative": training,
    "first gradient, relative": gradient,
    "rollout steps, of the range": forced,
    "rollouts along actions, of the range": open_loop,
    "rollouts of a policy, of the range": closed_loop,
}
ENSEMBLE = {
    "means and log-variances": moments,
    "a step": ensemble_step,
    "losses of five updates, relative": ensemble_training,
}


def checks(golden: Golden) -> dict[str, list[Check]]:
    """All comparisons of a folder by title."""
    return {title: list(f(golden)) for title, f in (ENSEMBLE if golden.ensemble else SEQUENCE).items()}


def table(found: dict[str, dict[str, list[Check]]]) -> str:
    """The largest difference of each comparison for each folder, as Markdown."""
    lines = [f"| | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}"]
    for title in {**SEQUENCE, **ENSEMBLE}:
        cells = [_largest(groups.get(title, [])) for groups in found.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _largest(checks: list[Check]) -> str:
    """The largest difference and what is allowed; counts and ratios are no differences."""
    apart = [check for check in checks if 0 < check.allowed < 1]
    if not apart:
        return "-"
    worst = max(apart, key=lambda check: check.difference)
    return f"{worst.difference:.1e} ({worst.allowed:.0e})"


def main(folders: list[str]) -> int:
    """Print every comparison of some folders, then a table; 1 if one fails."""
    torch.set_num_threads(1)
    failed, found = 0, {}
    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch:
            golden = Golden(Path(folder), Path(scratch))
            print(f"\n{golden.folder.name} ({golden.kind})")
            found[golden.folder.name] = checks(golden)
            for check in itertools.chain(*found[golden.folder.name].values()):
                failed += not check.ok
                print(f"  {check.name:55s} {check.difference:9.2g}  {'<=' if check.ok else '> '} {check.allowed:g}")
    print(f"\n{table(found)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
