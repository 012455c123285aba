"""Same weights, same answers as the released program recorded."""

from __future__ import annotations

import pytest
from released import golden as comparisons
from released.conftest import FOLDERS

TITLES = list(dict.fromkeys([*comparisons.SEQUENCE, *comparisons.ENSEMBLE]))


def test_there_are_recorded_answers_of_every_kind():
    assert {"trajworld_hopper", "tdm_hopper", "mlp_hopper", "mlp_hopper_padded"} <= {f.name for f in FOLDERS}


@pytest.mark.parametrize("title", TITLES)
def test_answers_are_those_recorded(golden, title):
    compare = (comparisons.ENSEMBLE if golden.ensemble else comparisons.SEQUENCE).get(title)
    if compare is None:
        return  # the comparison is of the other kind of model
    checks = list(compare(golden))
    assert checks
    apart = [f"{c.name}: {c.difference:.3g} > {c.allowed:g}" for c in checks if not c.ok]
    assert not apart
