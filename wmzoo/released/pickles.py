"""Pickles that hold arrays in dictionaries and nothing else, read by stand-ins so that nothing in them runs.

Each name that an array needs leads to a stand-in that only collects shapes and bytes; see :mod:`wmzoo.unpickle`.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.errors import WmzooError
from wmzoo.files import replacing
from wmzoo.unpickle import Call, Reader, Refused

Tree = dict[str, Any]
"""Nested dictionaries of arrays and plain numbers."""

DTYPE = re.compile(r"[<>=|]?([fiub])([1248])|O8?")
DAMAGE = (
    Refused,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
)


def read(path: Path) -> Tree:
    """Read a pickle of nested dictionaries of arrays and numbers.

    Args:
        path: written by NumPy or JAX, of any pickle protocol.

    Raises:
        WmzooError: it asks for anything but arrays, is damaged or can't be read. Nothing in it was executed.
    """
    try:
        with path.open("rb") as file:
            tree = _plain(Reader(file, GLOBALS).load())
    except OSError as error:
        raise WmzooError(f"{path}: can't be read ({error.strerror}); name an existing file.") from error
    except DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(".,") or "it ends too early"
        raise WmzooError(f"{path}: not a pickle of arrays: {reason}.") from error
    if not isinstance(tree, dict):
        raise WmzooError(f"{path}: holds {_kind(tree)}, not a dictionary of arrays.")
    return tree


def read_array(path: Path) -> np.ndarray | None:
    """Read a ``.npy`` file; None if it holds a pickled None, as those of an ensemble without input scale do.

    Raises:
        WmzooError: it is damaged, can't be read, or holds other objects.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            _, _, dtype = header[version](file)
            if dtype.hasobject:
                held = _plain(Reader(file, GLOBALS).load())
                if held is None or isinstance(held, list) and set(held) == {None}:
                    return None
                raise ValueError("it holds objects")
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise WmzooError(f"{path}: can't be read ({error.strerror}); it belongs beside the checkpoint.") from error
    except DAMAGE as error:
        raise WmzooError(f"{path}: not an array file: {error}.") from error


def write(path: Path, tree: Tree) -> None:
    """Write nested dictionaries of arrays and numbers as a pickle that NumPy 1 and 2 read.

    Raises:
        WmzooError: the file can't be written.
    """
    # Protocol 3 names modules in lines of text; NumPy 1 knows this one by its older name, and NumPy 2 by both.
    text = pickle.dumps(tree, protocol=3).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    with replacing(path) as partial:
        partial.write_bytes(text)


class _DType:
    """Stands in for a NumPy type of numbers, or of objects."""

    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if not (isinstance(code, str) and DTYPE.fullmatch(code)):
            raise Refused(f"an array of type {code!r} is neither of numbers nor of None")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *fields = state
        if order not in ("<", ">", "=", "|") or any(field is not None for field in fields[:3]):
            raise Refused("a structured array")
        self.code = self.code if self.objects or self.code[0] in "<>=|" else order + self.code

    @property
    def objects(self) -> bool:
        """Whether it is the type of objects."""
        return self.code.startswith("O")


class _Array:
    """Stands in for an array until its bytes have come."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = list(data) if dtype.objects else _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: _DType, shape: tuple[int, ...], order: Any) -> np.ndarray:
    raw = data if isinstance(data, bytes | bytearray) else data.encode("latin1")
    return np.frombuffer(bytes(raw), dtype.code).reshape(shape, order=order)


def _empty(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _Array:
        raise Refused("an array of another class than NumPy's")
    return _Array()


def _from_jax(make: Any, arguments: tuple[Any, ...], state: tuple[Any, ...], about: Any) -> _Array:
    made = make(*arguments)
    if not isinstance(made, _Array):
        raise Refused("a JAX array that is made of something else")
    made.__setstate__(state)
    return made


def _from_buffer(data: Any, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
    made = _Array()
    made.value = _array(data, dtype, shape, order)
    return made


def _scalar(dtype: _DType, data: bytes) -> Any:
    return np.frombuffer(data, dtype.code)[0].item()


GLOBALS: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _DType}
for _module in ("numpy.core", "numpy._core"):
    GLOBALS[f"{_module}.multiarray", "_reconstruct"] = Call(_empty)
    GLOBALS[f"{_module}.multiarray", "scalar"] = Call(_scalar)
    GLOBALS[f"{_module}.numeric", "_frombuffer"] = Call(_from_buffer)
GLOBALS["jax._src.array", "_reconstruct_array"] = Call(_from_jax)
GLOBALS["_codecs", "encode"] = Call(lambda text, name: str(text).encode("latin1"))  # bytes before protocol 3


def _plain(value: Any) -> Any:
    """Dictionaries, arrays and plain numbers, without stand-ins."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise Refused("a dictionary whose keys are not all words")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, _Array):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise Refused(f"it holds {_kind(value)}")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__.strip('_')}"
