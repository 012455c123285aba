"""UniTraj as released with TrajWorld (one .npz an episode, in folders by component).

Paper: Yin et al. 2025 (arXiv 2502.01366)
Alignment as in ExORL. The component is the level of a set too, and the folder of the task its environment;
``max_min_values.npz`` is not needed, since ranges are measured anew on training episodes. What the released loader
leaves out is left out here: JAT's Walker2d, HalfCheetah and Hopper are what pre-trained models are tested on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wmzoo.data.recordings import Recording, Skipped
from wmzoo.data.sources import below
from wmzoo.data.sources.exorl import episode_of
from wmzoo.data.sources.tdmpc2 import TASKS

COMPONENTS = ("modular-rl", "tdmpc2", "exorl", "rl_unplugged", "db1", "jat", "pendulum", "macaw", "two_poles_demo")
BETWEEN = ("datasets", "buffer", "preprocessed", "preprocessed_d4rl_format", "preprocessed_data_no_padding_new")
LEFT_OUT = {
    "exorl": ("cheetah",),
    "rl_unplugged": ("cheetah",),
    "db1": ("rl_minimal_exp_data", "point_mass", "walker_7", "cheetah_7", "hopper_4", "dmc-cheetah"),
    "jat": ("walker", "cheetah", "hopper", "ant", "standup", "humanoid"),
}
"""By component, parts of the names of folders."""


def files(path: Path) -> list[Path]:
    """The episodes at or below a path."""
    return [file for file in below(path, "*.npz") if file.name != "max_min_values.npz"]


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The one episode of a file."""
    component, environment = _place(path)
    if any(part in environment for part in LEFT_OUT.get(component, ())):
        yield Skipped(str(path), "the released loader leaves it out; `wmzoo data import npz` takes it")
        return
    yield Recording(environment=environment, level=component, component=component, **episode_of(path))


def _place(path: Path) -> tuple[str, str]:
    """The component and the task that the folders name."""
    folders = path.parts[:-1]
    at = next((i for i, part in enumerate(folders) if part in COMPONENTS), None)
    inner = [part for part in folders[len(folders) - 1 if at is None else at + 1 :] if part not in BETWEEN]
    component = "unitraj" if at is None else folders[at]
    name = "-".join(inner) or component
    number = name.removeprefix("task_")
    if component == "tdmpc2" and number.isdigit() and int(number) < len(TASKS):
        name = TASKS[int(number)][0]
    return component, name
