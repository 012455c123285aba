"""The table of a corpus: what it says is what the corpus holds."""

from __future__ import annotations

import dataclasses

import numpy as np
from systems import system_corpus, system_set

from wmzoo import cli
from wmzoo.data.store import cost_path, write_corpus
from wmzoo.files import write_json


def test_a_line_for_each_environment_with_returns_by_kind(workdir, capsys):
    first, second = system_set(level="a"), system_set(level="b", seed=1)
    kinds = [{"name": "x", "kind": "random"}, {"name": "y", "kind": "graded"}]
    for item in (first, second):
        item.episodes["behaviour"] = np.arange(len(item.episodes)) % 2
    other = dataclasses.replace(system_set(seed=2), environment="wild", component="lab")
    write_corpus(
        workdir / "c.h5",
        [dataclasses.replace(item, about={"behaviours": kinds}) for item in (first, second)] + [other],
        {},
    )
    write_json(cost_path(workdir / "c.h5"), {"seconds": {"toy/a": 3.0, "toy/b": 4.0}})
    assert cli.main(["data", "table", "c.h5", "--md", "table.md"]) == 0
    text = (workdir / "table.md").read_text()
    toy = next(line for line in text.splitlines() if line.startswith("| toy "))
    cells = [cell.strip() for cell in toy.strip("|").split("|")]
    steps = len(first.data) + len(second.data) - len(first.episodes) - len(second.episodes)
    assert cells[:8] == ["toy", first.component, "3", "2", f"{first.dt:g}", f"{steps:,}", "40", "7"]
    returns = np.concatenate([item.episodes["return"][0::2] for item in (first, second)]).astype(float)
    assert float(cells[9].split(" ± ")[0]) == round(returns.mean(), 1)
    wild = next(line for line in text.splitlines() if line.startswith("| wild "))
    assert [cell.strip() for cell in wild.strip("|").split("|")][7] == "", "nobody told its seconds"
    assert "return, random | return, graded | return, all" in text and "7 s of collection" in text
    assert cli.main(["data", "table", "c.h5"]) == 0
    assert "2 environments" in capsys.readouterr().out


def test_a_missing_folder_is_told(workdir, capsys):
    system_corpus(workdir / "c.h5")
    assert cli.main(["data", "table", "c.h5", "--md", "none/table.md"]) == 2
    assert "none/table.md: its folder is not there" in capsys.readouterr().err
