"""The page about findings and the ids in the code are one list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nixvm_loop import doctor
from nixvm_loop.doctor.ids import Id
from nixvm_loop.signatures import SIGNATURES, Source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[2] for match in re.finditer(r"^### (\S+)\n(.*?)(?=^#|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
}
ROOM = Path(doctor.__file__).parent
LABELS = ("Symptom", "Cause", "Cure", "Reproduced")


def test_each_id_has_its_section() -> None:
    """What is found can be read about, and nothing is written about what is never found."""
    signatures = {one.id for one in SIGNATURES if one.source is not Source.CONSOLE_MILESTONE}
    assert sorted(SECTIONS) == sorted({*Id, *signatures})


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_is_whole(name: str) -> None:
    """Symptom, cause, cure, and how it was reproduced, in this order; tests that it names are there."""
    text = SECTIONS[name]
    assert re.findall(r"^- \*\*(\w+):\*\* \S", text, flags=re.MULTILINE) == list(LABELS)
    for file in re.findall(r"tests/[\w/]+\.py", text):
        assert (ROOT / file).is_file(), file
        if "test_doctor" in file:
            assert f'"{name}"' in (ROOT / file).read_text(encoding="utf-8"), f"{name} is not in {file}"


def test_ids_are_written_nowhere_else() -> None:
    """Every finding is made with a name of the list, or with that of a signature; and every name is used."""
    used: set[str] = set()
    for file in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Found":
                assert not isinstance(node.args[0], ast.Constant), f"{file.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Id":
                used.add(Id[node.attr])
    assert used == set(Id)
