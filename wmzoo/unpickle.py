"""Reading pickles without running them: every name in one leads to a stand-in, and any other is refused.

A pickle is a program: it names functions to call. A reader lists the few names that its format needs, each with a
stand-in that only collects what it is given; nothing is ever imported.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

Refused = pickle.UnpicklingError
"""What a damaged or refused pickle raises."""

Names = Mapping[tuple[str, str], Any]


class Call:
    """Stands in for a function; a pickle can call it and do nothing else to it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """What the function makes of the arguments."""
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("a function with a state")


class Reader(pickle.Unpickler):
    """Finds stand-ins alone.

    Args:
        file: the pickle.
        names: stand-ins by module and name.
        persistent: what a persistent id stands for; refused if left out.
    """

    def __init__(self, file: IO[bytes], names: Names, persistent: Callable[[Any], Any] | None = None):
        super().__init__(file)
        self._names, self._persistent = names, persistent

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name; imports nothing."""
        if (module, name) not in self._names:
            raise Refused(f"it asks for {module}.{name}, which is no data, and was not run")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """What an id stands for."""
        if self._persistent is None:
            raise Refused("it refers to something outside of it")
        return self._persistent(pid)
