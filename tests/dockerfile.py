"""Reads a Dockerfile, and says what a builder would stumble over."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

FLAGS = {"FROM": {"platform"}, "COPY": {"from", "chown", "chmod"}, "RUN": {"mount"}}
INSTRUCTIONS = {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "CMD", "ENTRYPOINT"}
INHERITED = {"PATH", "HOME"}


@dataclass(kw_only=True)
class Dockerfile:
    """``context``: the folder that it is built from. ``user``: whom the image runs as."""

    context: Path
    ignored: list[str]
    problems: list[str] = field(default_factory=list)
    arguments: dict[str, str | None] = field(default_factory=dict)
    stages: set[str] = field(default_factory=set)
    user: str = "root"
    known: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def read(self, text: str) -> Dockerfile:
        joined = re.sub(r"\\\n(?:[ \t]*#.*\n)*", " ", text)
        lines = [line for line in joined.splitlines() if line.strip() and line[0] != "#"]
        for line in lines:
            name, _, rest = line.partition(" ")
            if name not in INSTRUCTIONS:
                self.problems.append(f"{name} is no instruction")
                continue
            self._flags(name, rest)
            self._variables(name, rest)
            getattr(self, f"_{name.lower()}", lambda _: None)(rest)
        unused = set(self.arguments) - self.used
        self.problems += [f"ARG {name} is used nowhere" for name in sorted(unused)]
        return self

    def _flags(self, name: str, rest: str) -> None:
        for flag in re.findall(r"^(?:--(\w+)=\S+ )", rest):
            if flag not in FLAGS.get(name, set()):
                self.problems.append(f"{name} knows no --{flag}")

    def _variables(self, name: str, rest: str) -> None:
        known = set(self.arguments) if name == "FROM" else self.known | INHERITED
        for variable in re.findall(r"(?<!\\)\$\{?(\w+)", rest):
            self.used.add(variable)
            if variable not in known:
                self.problems.append(f"{name} uses {variable}, which no ARG or ENV declares")

    def _from(self, rest: str) -> None:
        self.known, self.user = set(), "root"
        match = re.fullmatch(r"(\S+)(?: AS (\w+))?", rest.strip())
        if match is None:
            self.problems.append(f"FROM {rest}")
        elif match[2]:
            self.stages.add(match[2])

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.arguments.setdefault(name, default)
        self.known.add(name)

    def _env(self, rest: str) -> None:
        self.known |= {word.partition("=")[0] for word in shlex.split(rest)}

    def _user(self, rest: str) -> None:
        self.user = rest.strip()

    def _copy(self, rest: str) -> None:
        *words, _ = rest.split()
        stage = next((word[7:] for word in words if word.startswith("--from=")), None)
        if stage is not None:
            if stage not in self.stages:
                self.problems.append(f"COPY from {stage}, which is no stage")
            return
        for source in (word for word in words if not word.startswith("--")):
            if not (self.context / source).exists() or self._is_ignored(source):
                self.problems.append(f"COPY {source}: not in the context")

    def _is_ignored(self, source: str) -> bool:
        """The last pattern that fits decides."""
        fitting = [each for each in self.ignored if fnmatch(source, each.removeprefix("!"))]
        return bool(fitting) and not fitting[-1].startswith("!")
