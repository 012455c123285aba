"""The README is true: its backbone works as it stands, its commands parse, its files exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from systems import system_corpus

from wmzoo import grid
from wmzoo.cli import _parse
from wmzoo.recipe import check
from wmzoo.training import train

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def my_mixer(workdir):
    code = next(block for block in blocks("python") if "class MyMixer" in block)
    recipe = next(block for block in blocks("yaml") if "my_mixer" in block)
    (workdir / "registry" / "backbones").mkdir(parents=True)
    (workdir / "registry" / "backbones" / "my_mixer.py").write_text(code)
    (workdir / "my_mixer.yaml").write_text(recipe)
    yield workdir
    sys.modules.pop("wmzoo_user_registry.backbones.my_mixer", None)


def test_the_backbone_of_the_readme_trains_as_it_stands(my_mixer):
    system_corpus(my_mixer / "toy.h5", length=30)
    few = ["data.corpus=toy.h5", "data.environments=[toy/a]", "train.steps=4", "train.validate_every=2"]
    cells = [check(source) for source in grid.cells("my_mixer.yaml", few)]
    assert [(c.name, c.seed) for c in cells] == [("my_mixer", 0), ("my_mixer", 1)]
    assert (train(cells[0], quiet=True) / "best.safetensors").is_file()


def test_the_commands_of_the_readme_are_understood():
    lines = [line.strip().removeprefix("$ ") for line in README.splitlines()]
    commands = [line.partition("#")[0].strip() for line in lines if line.startswith("wmzoo ") and "wmzoo: " not in line]
    assert len(commands) > 8
    for command in commands:
        assert _parse(shlex.split(command)[1:]).command


def test_the_files_that_the_readme_shows_exist():
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert shown and all((ROOT / path).is_file() for path in shown)
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
