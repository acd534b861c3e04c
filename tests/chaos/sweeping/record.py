"""What a sweep has found so far, a line of JSON for each thing: written as it happens, read when it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.sweeping.cases import Case, Course, Group, Result


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken promise that belongs to no case: to a whole run, or to the end of a site."""

    group: Group
    text: str


class Record:
    """The file of a sweep. Of other code than `code` it is set aside, and a new one begun.

    code   what names the code that is swept
    """

    def __init__(self, path: Path, code: str, courses: Iterable[Course], *, fresh: bool = False) -> None:
        self.path, self.code = path, code
        self.courses = {course.group: course for course in courses}
        self.faults: list[Fault] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        #: results that were there already
        self.found = 0 if fresh else self._read()
        if not self.found:
            self._begin()

    def add_whole(self, course: Course) -> None:
        whole = {"writes": course.writes, "aborts": course.aborts}
        self._append({"whole": {**asdict(course.group), **whole}})

    def add(self, result: Result) -> None:
        self.courses[result.case.group].results.append(result)
        self._append({"result": asdict(result)})

    def add_fault(self, fault: Fault) -> None:
        self.faults.append(fault)
        self._append({"fault": asdict(fault)})

    @property
    def violations(self) -> list[str]:
        told = [
            f"{group}: {_told(result.case)}: {result.violation}"
            for group, course in self.courses.items()
            for result in course.results
            if result.violation
        ]
        return told + [f"{fault.group}: {fault.text}" for fault in self.faults]

    # --- private

    def _begin(self) -> None:
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".before.jsonl"))
        self._append({"code": self.code})

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> int:
        if not self.path.exists():
            return 0
        lines = self.path.read_text().splitlines(keepends=True)
        # The last line may be cut: a sweep can be killed as well.
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if not whole or whole[0].get("code") != self.code:
            return 0
        if len(whole) < len(lines):
            self.path.write_text("".join(lines[: len(whole)]))
        for line in whole[1:]:
            self._take(line)
        return len(whole)

    def _take(self, line: dict[str, Any]) -> None:
        """Groups that are not asked for this time stay in the file, and are not looked at."""
        if (given := line.get("whole")) is not None:
            course = self.courses.get(Group(given["strategy"], given["act"]))
            if course is not None:
                course.writes = given["writes"]
                course.aborts = {int(at): writes for at, writes in given["aborts"].items()}
        elif (given := line.get("result")) is not None:
            result = _result(given)
            if result.case.group in self.courses:
                self.courses[result.case.group].results.append(result)
        elif (given := line.get("fault")) is not None:
            fault = Fault(Group(**given["group"]), given["text"])
            if fault.group in self.courses:
                self.faults.append(fault)


def code_of(*places: Path) -> str:
    """A name for what these files and directories hold: other content, other name."""
    digest = hashlib.sha256()
    for place in places:
        files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.suffix in (".py", ".sql"))
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _result(given: dict[str, Any]) -> Result:
    case = given["case"]
    return Result(**{**given, "case": Case(**{**case, "group": Group(**case["group"])})})


def _told(case: Case) -> str:
    aborted = f"aborted at {case.abort_at}, " if case.abort_at else ""
    return f"{aborted}killed at {case.point} {case.write}, then at {case.second_point} {case.second}"
