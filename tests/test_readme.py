"""The README is true: its backbone is the one that is made, its commands parse, its files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from wmzoo import grid, new, recipe
from wmzoo.cli import _parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_backbone_of_the_readme_is_what_wmzoo_new_writes(workdir):
    part, example = new.begin("backbone", "my_mixer")
    assert part.read_text() in blocks("python") and example.read_text() in blocks("yaml")


def test_the_grid_of_the_readme_has_as_many_cells_as_it_says(workdir):
    (text,) = [block for block in blocks("yaml") if "exclude:" in block]
    name = text.split()[1].rstrip(":")
    (workdir / name).write_text(text)
    assert len(grid.cells(name)) == 7 and f"wmzoo grid {name} --dry-run        # seven cells" in README
    assert name.removesuffix(".yaml") not in {known.rpartition("/")[2] for known in recipe.names()}, "another grid's"


def test_the_commands_of_the_readme_are_understood():
    lines = [line.strip().removeprefix("$ ") for line in README.splitlines()]
    commands = [line.partition("#")[0].strip() for line in lines if line.startswith("wmzoo ") and "wmzoo: " not in line]
    assert len(commands) > 8
    for command in commands:
        assert _parse(shlex.split(command)[1:]).command


def test_the_walk_to_a_new_backbone_has_its_corpus_before_what_needs_one():
    steps = re.findall(r"^    wmzoo (.+?)(?:  +#.*)?$", README.partition("## Add a backbone")[2], re.MULTILINE)
    assert steps[0] == "new backbone my_mixer"
    assert steps.index("data collect quickstart") < min(steps.index("check my_mixer"), steps.index("grid my_mixer"))


def test_the_files_that_the_readme_shows_exist():
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert shown and all((ROOT / path).is_file() for path in shown)
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
