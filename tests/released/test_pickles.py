"""Pickles give arrays and nothing else; nothing that they ask for is run."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from wmzoo.errors import WmzooError
from wmzoo.released import pickles


class Runs:
    """Pickles into a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write(path, tree, protocol=4):
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool", ">f4"])
def test_arrays_and_numbers_come_through(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    tree = {"a": {"b": array, "f": np.asfortranarray(array)}, "n": 1.5, "none": None, "word": "x", "s": np.float32(2)}
    found = pickles.read(write(tmp_path / "x.pkl", tree, protocol))
    assert found["n"] == 1.5 and found["none"] is None and found["word"] == "x" and found["s"] == 2
    for name in ("b", "f"):
        assert found["a"][name].dtype == array.dtype
        np.testing.assert_array_equal(found["a"][name], array)


def test_a_pickle_that_would_write_a_file_is_refused_and_writes_nothing(tmp_path):
    planted = tmp_path / "planted"
    path = write(tmp_path / "x.pkl", {"params": Runs(os.system, f"touch {planted}")})
    with pytest.raises(WmzooError, match=r"x\.pkl: not a pickle of arrays: it asks for (posix|os|nt)\.system"):
        pickles.read(path)
    assert not planted.exists()


def test_a_pickle_that_would_open_a_file_is_refused(tmp_path):
    planted = tmp_path / "planted"
    with pytest.raises(WmzooError, match=r"it asks for io\.open"):
        pickles.read(write(tmp_path / "x.pkl", {"params": Runs(open, str(planted), "w")}))
    assert not planted.exists()


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'dump'\ntR.", "builtins.getattr"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n(S'x'\ntR.", "numpy.core.multiarray.fromfile"),
        (b"(ios\nsystem\nS'true'\n.", "os.system"),
        (b"\x80\x04\x8c\x0dwmzoo.collect\x8c\x01x\x93.", "wmzoo.collect.x"),
    ],
)
def test_any_other_name_is_refused_by_that_name(tmp_path, text, asked):
    (tmp_path / "x.pkl").write_bytes(text)
    with pytest.raises(WmzooError, match=f"it asks for {asked.replace('.', '[.]')}, which is no data, and was not run"):
        pickles.read(tmp_path / "x.pkl")


STRUCTURED = np.zeros(2, dtype=[("a", "f4"), ("b", "O")])


@pytest.mark.parametrize(
    "tree",
    [
        [1, 2],
        {"a": STRUCTURED},
        {"a": np.array(["word"])},
        {1: 2.0},
        {"a": np.ones(2, "complex64")},
        {"a": np.datetime64("2025-01-01")},
        {"a": (1, 2)},
    ],
    ids=["list", "structured", "words", "keys", "complex", "date", "tuple"],
)
def test_anything_else_is_refused(tmp_path, tree):
    with pytest.raises(WmzooError, match=r"x\.pkl"):
        pickles.read(write(tmp_path / "x.pkl", tree))


def test_damaged_files_are_refused(tmp_path):
    whole = pickle.dumps({"a": np.arange(100.0)})
    for text in (b"", b"not a pickle", whole[:-30], whole[: len(whole) // 2], b"\x80\x04}\x94(h\x00h\x00u."):
        (tmp_path / "x.pkl").write_bytes(text)
        with pytest.raises(WmzooError, match="not a pickle of arrays|holds"):
            pickles.read(tmp_path / "x.pkl")
    with pytest.raises(WmzooError, match="can't be read"):
        pickles.read(tmp_path / "none.pkl")


def test_a_dictionary_that_holds_itself_is_refused(tmp_path):
    tree: dict = {}
    tree["a"] = tree
    with pytest.raises(WmzooError):
        pickles.read(write(tmp_path / "x.pkl", tree))


def test_a_stand_in_takes_no_state(tmp_path):
    text = b"cnumpy.core.multiarray\n_reconstruct\n}S'x'\nI1\nsb."
    (tmp_path / "x.pkl").write_bytes(text)
    with pytest.raises(WmzooError, match="a function with a state"):
        pickles.read(tmp_path / "x.pkl")


def test_array_files_hold_numbers_or_none(tmp_path):
    path = tmp_path / "mu.npy"
    np.save(path, np.arange(3.0)[None])
    assert pickles.read_array(path).shape == (1, 3)
    for empty in (np.array(None), np.array([None])):
        np.save(path, empty)
        assert pickles.read_array(path) is None
    planted = tmp_path / "planted"
    np.save(path, np.array([Runs(os.system, f"touch {planted}")], object))
    with pytest.raises(WmzooError, match="it asks for"):
        pickles.read_array(path)
    assert not planted.exists()
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(WmzooError, match="not an array file"):
        pickles.read_array(path)


def test_what_is_written_reads_back_and_names_the_module_as_numpy_1_does(tmp_path):
    tree = {"params": {"a": np.random.default_rng(0).normal(size=(3, 5)).astype("f4")}, "high": 1.00001}
    pickles.write(tmp_path / "x.pkl", tree)
    found = pickles.read(tmp_path / "x.pkl")
    np.testing.assert_array_equal(found["params"]["a"], tree["params"]["a"])
    assert found["high"] == tree["high"]
    text = (tmp_path / "x.pkl").read_bytes()
    assert b"numpy.core.multiarray" in text and b"numpy._core" not in text
    loaded = pickle.loads(text)  # noqa: S301 (written above)
    np.testing.assert_array_equal(loaded["params"]["a"], tree["params"]["a"])
