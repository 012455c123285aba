"""Opening MLflow's tracking stores so that many processes may write to one at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wmzoo.errors import WmzooError
from wmzoo.interrupts import deferred

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql", "mssql")
PATIENCE = 300.0  # seconds that a writer waits for its turn
OVERTAKEN = 5  # times that another process may be first to write the same row
BUSY = "TEMPORARILY_UNAVAILABLE"  # MLflow's word for a database that is locked


@functools.lru_cache
def opened(uri: str, process: int) -> MlflowClient:
    """A client of a store, made on first use if it is a SQLite file; its calls wait while others write.

    Args:
        uri: any MLflow tracking URI; of a file, with an absolute path.
        process: that will use it: a database connection does not survive a fork.

    Raises:
        WmzooError: the store can't be reached or written, or needs a library that is not there.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # The migrations of a new store are nobody's business, and a locked database is tried again.
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with deferred(), _alone(uri):
            store = cast("MlflowClient", _Patient(MlflowClient(tracking_uri=uri)))
            store.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        raise WmzooError(f"tracking.uri: {uri} needs {error.name}: pip install 'wmzoo[postgres]'.") from error
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        told = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(". ")
        raise WmzooError(
            f"tracking.uri: {uri} can't be opened ({told}); correct it, make it writable, or start its server."
        ) from error
    return store


def require(uri: str) -> None:
    """Make sure that there is a store to read, where opening would make an empty one.

    Raises:
        WmzooError: a SQLite file is not there.
    """
    path = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not path.is_file():
        raise WmzooError(f"{path}: no such tracking store; go to the folder that the runs were made in, or add --uri.")


def absolute(uri: str) -> str:
    """The same store from whatever folder: a SQLite file's path is made absolute."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).resolve()}" if uri.startswith(SQLITE) else uri


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Open a SQLite store one process at a time, as two that make its tables at once would both fail.

    Leaves it with a write-ahead log, in which readers and a writer do not wait for each other.
    """
    if not uri.startswith(SQLITE):
        _reach(uri)
        yield
        return
    path = Path(uri.removeprefix(SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    finally:
        os.close(folder)


def _reach(uri: str) -> None:
    """Connect to a database server once: MLflow would try for minutes what can't be."""
    if uri.startswith(DATABASES):
        from sqlalchemy import create_engine

        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()


class _Patient:
    """A client whose calls are repeated while the store is busy; a call that failed so has changed nothing.

    No call is interrupted: SQLAlchemy would leave its transaction open, and the store locked for all.
    """

    def __init__(self, store: MlflowClient):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return functools.partial(_repeated, found) if callable(found) else found


def _repeated(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    from mlflow.exceptions import MlflowException

    began, overtaken = time.monotonic(), 0
    while True:
        try:
            with deferred():
                return call(*arguments, **options)
        except MlflowException as error:
            overtaken += _overtaken(error)
            again = overtaken <= OVERTAKEN if _overtaken(error) else error.error_code == BUSY
            if not again or time.monotonic() - began > PATIENCE:
                raise
        time.sleep(random.uniform(0.05, 0.5))


def _overtaken(error: MlflowException) -> bool:
    """Whether another process has just written a row that both looked for in vain, such as that of a data set."""
    from sqlalchemy.exc import IntegrityError

    return isinstance(error.__cause__, IntegrityError)
