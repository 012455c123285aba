"""``wmzoo data import``: foreign files into a corpus, file by file, in bounded memory, resumed after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wmzoo.data import sources
from wmzoo.data.recordings import Recording, Skipped, fault
from wmzoo.data.store import EPISODE, TrajectorySet, corpus_path, digest, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import read_json, replacing, write_json
from wmzoo.progress import bar, console
from wmzoo.recipe import setting, settings_of
from wmzoo.trajectories import episode_rows

# What the libraries make of damaged files, NumPy's reader of headers among them.
DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, EOFError, OverflowError,
          MemoryError, SyntaxError, zipfile.BadZipFile, struct.error, tokenize.TokenError,
          zlib.error)  # fmt: skip
SHOWN = 8  # reasons printed, and kept in the corpus
JOURNAL_SECONDS = 2.0  # of reading, the most that a kill can lose
RECORD = np.dtype([("length", "<i8"), ("episode", EPISODE)])


@dataclass(frozen=True, kw_only=True)
class Config:
    """What files may not tell of themselves."""

    environment: str = setting("", "name of the environment of all files, in place of their own")
    level: str = setting("", "level of behaviour of all files, in place of their own")
    component: str = setting("", "part of a mixture that they all belong to; the format, if they do not tell")


def import_files(
    form: str, paths: Sequence[Path], to: Path, overrides: Sequence[str] = (), quiet: bool = False
) -> Path:
    """Read foreign files into a corpus.

    What can't be used, an episode or a whole file, is left out and reported; what an earlier call read before it was
    stopped is not read again.

    Args:
        form: name of a reader, such as ``d4rl``.
        paths: files and folders.
        to: the corpus; ``.h5`` is added to a path without an ending.
        overrides: ``key=value`` settings.
        quiet: print nothing but errors.

    Returns:
        The corpus's path.

    Raises:
        WmzooError: no such format or file, nothing that can be used, or a corpus of other files there.
    """
    reader, config = sources.find(form), settings_of(Config, overrides)
    target = corpus_path(to)
    found = _files(reader, form, paths)
    about = {"imported": form, "settings": vars(config), "files": len(found), "files_sha256": _identity(found)}
    if target.exists():
        _require_same(target, about)
        if not quiet:
            console().print(f"{target}: these files are there already; nothing to do.", highlight=False)
        return target
    spool = Spool(target.with_name(target.name + ".parts"), about)
    with bar(f"import {form}", len(found), quiet=quiet, unit="files") as report:
        for index, path in enumerate(found):
            if index >= spool.done:
                spool.add(_recordings(reader, path, config))
            report(index + 1, path.name)
    if not spool.sets:
        spool.remove()
        raise WmzooError(_told(spool.skipped, f"{form}: none of {len(found)} files holds an episode to use"))
    left_out = {"left_out": len(spool.skipped), "skipped": spool.skipped[:SHOWN]}
    write_corpus(target, spool.joined(), {**about, **left_out})
    if spool.skipped:
        _write_skipped(target.with_name(target.name + ".skipped.txt"), spool.skipped)
    spool.remove()
    if spool.skipped and not quiet:
        told = _told(spool.skipped, f"{len(spool.skipped)} left out, all listed in {target}.skipped.txt")
        console().print(told, highlight=False, markup=False, soft_wrap=True)
    return target


def _files(reader: ModuleType, form: str, paths: Sequence[Path]) -> list[Path]:
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise WmzooError(*(f"{path}: no such file or folder." for path in missing))
    found = list(dict.fromkeys(file for path in paths for file in reader.files(path)))
    if not found:
        raise WmzooError(f"{', '.join(map(str, paths))}: no files of the format {form} there; see `wmzoo ls`.")
    return found


def _identity(found: Sequence[Path]) -> str:
    """A hash of the files' names, sizes and times."""
    sha = hashlib.sha256()
    for path in found:
        stat = path.stat()
        sha.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def _write_skipped(path: Path, skipped: Sequence[Sequence[str]]) -> None:
    with replacing(path) as partial:
        partial.write_text("".join(f"{place}\t{reason}\n" for place, reason in skipped))


def _require_same(target: Path, about: dict[str, Any]) -> None:
    there = open_corpus(target).about
    if any(there.get(key) != value for key, value in about.items()):
        raise WmzooError(f"{target}: holds another corpus; choose another place by --to, or delete it.")


def _told(skipped: Sequence[Sequence[str]], title: str) -> str:
    """What was left out, in lines; the first few of many."""
    lines = [f"  {place}: {reason}" for place, reason in skipped[:SHOWN]]
    more = [f"  and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    return "\n".join([f"{title}:", *lines, *more])


def _recordings(reader: ModuleType, path: Path, config: Config) -> Iterator[Recording | Skipped]:
    """The usable episodes of a file; a file that breaks off is left out from there on, with the reason."""
    index = 0
    try:
        for item in reader.read(path):
            if isinstance(item, Recording):
                changes = {name: value for name, value in vars(config).items() if value}
                item = dataclasses.replace(item, **changes)
                reason = fault(item)
                yield Skipped(f"{path}, episode {index}", reason) if reason else item
            else:
                yield item
            index += 1
    except DAMAGE as error:
        reason = f"{type(error).__name__} {error}".partition("\n")[0]
        yield Skipped(str(path), f"can't be read from episode {index} on ({reason})")


class Spool:
    """Rows on their way into a corpus: two growing files a set, and a journal of the source files that are through.

    Args:
        folder: is made, or taken up where an earlier call left it.
        about: what is imported; the spool of anything else is thrown away.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.journal, self.written = folder, folder / "journal.json", 0.0
        self.about = about
        self.sets: dict[str, dict[str, Any]] = {}
        self.skipped: list[list[str]] = []
        self.done = 0
        self._open()

    def _open(self) -> None:
        """Go on from the journal."""
        if self.journal.is_file():
            kept = read_json(self.journal)
            if kept["about"] == self.about:
                self.sets, self.skipped, self.done = kept["sets"], kept["skipped"], kept["done"]
                return
        self.remove()
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise WmzooError(
                f"{self.folder}: can't be made ({error.strerror}); choose another place by --to."
            ) from error

    def add(self, recordings: Iterator[Recording | Skipped]) -> None:
        """Take in one source file; every now and then, note in the journal how many are through."""
        for item in recordings:
            if isinstance(item, Skipped):
                self.skipped.append([item.place, item.reason])
            else:
                self._append(item)
        self.done += 1
        if time.monotonic() - self.written > JOURNAL_SECONDS:
            write_json(self.journal, {k: getattr(self, k) for k in ("about", "sets", "skipped", "done")})
            self.written = time.monotonic()

    def _append(self, item: Recording) -> None:
        key, episode = f"{_safe(item.environment)}/{_safe(item.level)}", item.episode
        about = {"names": list(item.names), "states": episode.observations.shape[1], "dt": item.dt}
        about["component"] = item.component or self.about["imported"]
        known = self.sets.setdefault(key, {**about, "file": str(len(self.sets)), "rows": 0, "episodes": 0})
        if any(known[name] != about[name] for name in ("names", "states")):
            self.skipped.append([key, f"an episode with other columns than the first ({len(item.names)} variates)"])
            return
        rows = episode_rows(episode).astype("<f4")
        record = (len(rows), (episode.rewards.sum(), episode.terminated, episode.truncated, -1, -1))
        self._put(f"{known['file']}.rows", known["rows"] * rows[0].nbytes, rows.tobytes())
        self._put(f"{known['file']}.episodes", known["episodes"] * RECORD.itemsize, np.array(record, RECORD).tobytes())
        known["rows"] += len(rows)
        known["episodes"] += 1

    def _put(self, name: str, place: int, data: bytes) -> None:
        """Write at a place of a file; what an interrupted call had written there is cut off."""
        path = self.folder / name
        try:
            with path.open("r+b" if place else "wb") as file:
                file.seek(place)
                file.truncate()
                file.write(data)
        except OSError as error:
            raise WmzooError(f"{path}: can't be written ({error.strerror}); free some space, then go on.") from error

    def joined(self) -> Iterator[TrajectorySet]:
        """The sets, their rows mapped from the spool."""
        for key, about in self.sets.items():
            environment, level = key.split("/")
            data = np.memmap(self.folder / f"{about['file']}.rows", "<f4", "r", 0, (about["rows"], len(about["names"])))
            records = np.fromfile(self.folder / f"{about['file']}.episodes", RECORD, about["episodes"])
            offsets = np.concatenate([[0], np.cumsum(records["length"])]).astype("<i8")
            mean = float(records["episode"]["return"].mean(dtype=np.float64))
            yield TrajectorySet(
                environment=environment,
                level=level,
                names=tuple(about["names"]),
                states=about["states"],
                dt=about["dt"],
                data=data,
                offsets=offsets,
                episodes=records["episode"],
                about={"imported": self.about["imported"], "return_mean": round(mean, 2), "episodes": len(records)},
                component=about["component"],
                sha256=digest(data, offsets),
            )

    def remove(self) -> None:
        """Throw the spool away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _safe(name: str) -> str:
    """A name that can be a part of a set's key."""
    return name.replace("/", "-").strip(". ") or "unnamed"
