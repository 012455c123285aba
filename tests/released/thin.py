"""Thin recorded answers of the released program down to what the repository can hold.

    python tests/released/thin.py RECORDED_FOLDER tests/data/released/NAME

Large arrays keep every 16th entry of their last axis; a TDM's position table keeps the rows that can be used; arrays
that repeat others are left out. ``golden.py`` compares what is there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from wmzoo.released import pickles

ROWS = 24  # of the position table
EVERY = {"outputs": 16, "outputs_f64": 16, "kv_cache": 16, "pretrain_path": 16, "tokens": 1, "hidden": 8}
LEFT_OUT = {"params", "rollout_closed_loop"}
ARRAYS = {
    "outputs": ("logits", "pred_values", "mean", "logvar", "step_noise", "step_member", "step_next_obs"),
    "outputs_f64": ("logits",),
    "tokens": ("gauss", "target_bin"),
    "pretrain_path": ("history01", "logits", "train_loss"),
    "train": ("losses", "model_loss"),
    "data": ("obs", "act", "next_obs", "reward", "bootstrap_idx"),
}


def thin(source: Path, target: Path) -> None:
    """Copy a folder, thinned."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix == ".npz" and path.stem not in LEFT_OUT:
            np.savez_compressed(target / path.name, **_arrays(path))
        elif path.suffix != ".npz":
            shutil.copyfile(path, target / path.name)
    _shorten(target / "trm_dynamics.pkl")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        kept = {name: file[name] for name in file if name in ARRAYS.get(path.stem, file) or "step_raw" in name}
    step, ensemble = EVERY.get(path.stem, 1), "mean" in kept
    large = {n for n, a in kept.items() if a.size > 20_000 and not ensemble}
    thinned = {n: a[..., ::step] if n in large else a for n, a in kept.items()}
    return {n: a[:ROWS] if n.endswith("embed_timestep/embedding") else a for n, a in thinned.items()}


def _shorten(path: Path) -> None:
    """Cut a long position table."""
    if not path.is_file():
        return
    tree = pickles.read(path)
    table = tree["params"]["params"]["embed_timestep"]
    if len(table["embedding"]) > ROWS:
        table["embedding"] = table["embedding"][:ROWS]
        pickles.write(path, tree)


if __name__ == "__main__":
    thin(Path(sys.argv[1]), Path(sys.argv[2]))
