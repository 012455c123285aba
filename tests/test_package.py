"""The package as users get it: every folder listed, the wheel complete and type-checked, nothing dangerous inside."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [p for folder in ("wmzoo", "registry", "evaluation", "recipes") for p in (ROOT / folder).rglob("*.py")]


def test_the_package_list_equals_the_folders_on_disk():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in SOURCES} | {"contracts"}
    assert config["options"]["package_dir"].split()[-1] == "tests/contracts"
    assert {name if name.startswith("wmzoo") else f"wmzoo.{name}" for name in folders} == listed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, installed into an empty folder without what it depends on."""
    made, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    source = (
        tmp_path_factory.mktemp("source") / "wmzoo"
    )  # built in a copy: what a build leaves would leak into the next
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "runs", "corpora", "mlruns", "*.egg-info")
    )
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", made, source], check=True, cwd=made)
    subprocess.run([*pip, "install", "--no-deps", "--target", target, *made.glob("*.whl")], check=True)
    return target


def elsewhere(wheel, *command):
    environment = {**os.environ, "PYTHONPATH": str(wheel), "MYPYPATH": str(wheel)}
    return subprocess.run([sys.executable, *command], cwd=wheel.parent, env=environment, capture_output=True, text=True)


def test_the_wheel_works_outside_of_the_checkout(wheel):
    code = (
        "import wmzoo, wmzoo.recipe, wmzoo.registry, wmzoo.evaluation;"
        "from wmzoo.collect import policies;"
        "print(wmzoo.__file__);"
        "print(len(wmzoo.recipe.names()), len(wmzoo.registry.cards()), len(wmzoo.recipe.data_names()))"
    )
    ran = elsewhere(wheel, "-c", code)
    assert ran.returncode == 0, ran.stderr
    place, counts = ran.stdout.splitlines()
    assert place.startswith(str(wheel))
    recipes = [path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name != "data"]
    parts, data = (ROOT / "registry").glob("*/[a-z]*.py"), (ROOT / "recipes" / "data").glob("*.yaml")
    assert counts == f"{len(recipes)} {len(list(parts))} {len(list(data))}"
    assert list(wheel.glob("wmzoo/collect/policies/*.npz"))
    assert list(wheel.glob("wmzoo/evaluation/published/*.csv"))
    assert list(wheel.glob("wmzoo/templates/*.txt")) and list(wheel.glob("wmzoo/contracts/test_*.py"))
    assert elsewhere(wheel, "-m", "wmzoo", "ls").returncode == 0


def test_the_wheel_type_checks(wheel):
    cache = ROOT / ".mypy_cache" / "wheel"
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    ran = elsewhere(wheel, "-m", "mypy", "-p", "wmzoo", *options)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout


def test_a_part_has_one_copy_whatever_the_working_directory():
    ran = subprocess.run([sys.executable, "-c", "import registry"], cwd=ROOT, capture_output=True, text=True)
    assert "import wmzoo.registry, not registry" in ran.stderr


# Pickles are read by stand-ins alone, which is tested in released/ and data/; the second of these writes them.
STAND_INS = {ROOT / "wmzoo" / "unpickle.py", ROOT / "wmzoo" / "released" / "pickles.py"}


def test_nothing_executes_what_it_reads():
    forbidden = re.compile(r"\b(pickle|eval|exec|torch\.load|yaml\.load|yaml\.unsafe_load|allow_pickle=True)\b\(?")
    assert SOURCES
    assert set(SOURCES) >= STAND_INS
    for path in set(SOURCES) - STAND_INS:
        for line in path.read_text().splitlines():
            assert not forbidden.search(re.sub(r'"[^"]*"|#.*|\.eval\(\)|exec_module|no pickle', "", line)), (
                f"{path}: {line}"
            )


def test_every_public_function_has_a_docstring():
    missing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        closures = {
            inner
            for outer in ast.walk(tree)
            if isinstance(outer, ast.FunctionDef)
            for inner in ast.walk(outer)
            if inner is not outer
        }
        for node in set(ast.walk(tree)) - closures:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    # Methods that only add to their parent's need none.
    allowed = {"problems", "forward"}
    assert not [m for m in missing if m.rpartition(" ")[2] not in allowed]
