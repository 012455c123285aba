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
from wmzoo.data.growing import Growing
from wmzoo.data.isolation import isolated
from wmzoo.data.recordings import Recording, Skipped, fault
from wmzoo.data.store import TrajectorySet, corpus_path, digest, open_corpus, write_corpus
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


@dataclass(frozen=True, kw_only=True)
class Config:
    """What files may not tell of themselves."""

    environment: str = setting("", "name of the environment of all files, in place of their own")
    level: str = setting("", "level of behaviour of all files, in place of their own")
    component: str = setting("", "part of a mixture that all files belong to, in place of their format's or folder's")


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
    index, changes = 0, {name: value for name, value in vars(config).items() if value}
    try:
        # Where a library reads the file, a damaged one may take the process with it.
        for item in isolated(reader.read, path) if getattr(reader, "FOREIGN", False) else reader.read(path):
            if isinstance(item, Recording):
                item = dataclasses.replace(item, **changes)
                reason = fault(item)
                yield Skipped(f"{path}, episode {index}", reason) if reason else item
            else:
                yield item
            index += 1
    except DAMAGE as error:
        what = "nothing in it is called" if isinstance(error, KeyError) else type(error).__name__
        reason = f"{what} {error}".partition("\n")[0]
        yield Skipped(str(path), f"can't be read from episode {index} on ({reason})")


class Spool:
    """Episodes on their way into a corpus: growing files of each set, and a journal of the source files that are done.

    Args:
        folder: is made, or taken up where an earlier call left it.
        about: what is imported; the spool of anything else is thrown away.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.journal, self.written = folder, folder / "journal.json", 0.0
        self.about = about
        self.sets: dict[str, dict[str, Any]] = {}
        self.growing: dict[str, Growing] = {}
        self.skipped: list[list[str]] = []
        self.done = 0
        self._open()

    def _open(self) -> None:
        """Go on from the journal."""
        if self.journal.is_file():
            kept = read_json(self.journal)
            if kept["about"] == self.about and self._take_up(kept):
                return
        self.remove()
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise WmzooError(
                f"{self.folder}: can't be made ({error.strerror}); choose another place by --to."
            ) from error

    def _take_up(self, kept: dict[str, Any]) -> bool:
        """Open the files that a journal tells of; false if they hold less than it says, as after a power cut."""
        growing = {key: self._grow(about, most=kept["episodes"][key]) for key, about in kept["sets"].items()}
        if any(growing[key].episodes < count for key, count in kept["episodes"].items()):
            return False
        self.sets, self.growing, self.skipped, self.done = kept["sets"], growing, kept["skipped"], kept["done"]
        return True

    def _grow(self, about: dict[str, Any], most: int) -> Growing:
        return Growing(self.folder / about["file"], len(about["names"]), most, synced=False)

    def add(self, recordings: Iterator[Recording | Skipped]) -> None:
        """Take in one source file; every now and then, note in the journal how many are through."""
        for item in recordings:
            if isinstance(item, Skipped):
                self.skipped.append([item.place, item.reason])
            else:
                self._append(item)
        self.done += 1
        if time.monotonic() - self.written > JOURNAL_SECONDS:
            kept = {name: getattr(self, name) for name in ("about", "sets", "skipped", "done")}
            write_json(self.journal, {**kept, "episodes": {key: file.episodes for key, file in self.growing.items()}})
            self.written = time.monotonic()

    def _append(self, item: Recording) -> None:
        key, episode = f"{_safe(item.environment)}/{_safe(item.level)}", item.episode
        about = {"names": list(item.names), "states": episode.observations.shape[1]}
        if key not in self.sets:
            own = {"dt": item.dt, "component": item.component, "file": str(len(self.sets))}
            self.sets[key] = {**about, **own}
            self.growing[key] = self._grow(self.sets[key], most=0)
        if any(self.sets[key][name] != value for name, value in about.items()):
            self.skipped.append([key, f"an episode with other columns than the first ({len(item.names)} variates)"])
            return
        total = float(episode.rewards.sum())
        self.growing[key].add(episode_rows(episode), (total, episode.terminated, episode.truncated, -1, -1))

    def joined(self) -> Iterator[TrajectorySet]:
        """The sets in the order of their keys, their rows mapped from the spool."""
        for key, about in sorted(self.sets.items()):
            environment, level = key.split("/")
            data, records = self.growing[key].rows(), self.growing[key].records
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
