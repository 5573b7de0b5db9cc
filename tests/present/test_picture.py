from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from nixvm_loop.events.codec import encode
from tests.present.scenario import hostile_run, whole_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "picture"


def draw(tmp_path: Path, lines: list[str], *options: str) -> str:
    recording, out = tmp_path / "run.ndjson", tmp_path / "out.svg"
    recording.write_text("".join(f"{line}\n" for line in lines))
    subprocess.run([sys.executable, str(SCRIPT), str(recording), str(out), *options], check=True)
    return out.read_text()


def words(svg: str) -> str:
    texts = ET.fromstring(svg).itertext()  # noqa: S314  # our own
    return "".join(texts).replace("\xa0", " ")


def test_picture_of_a_moment(tmp_path: Path) -> None:
    """The picture shows the moment asked for, and nothing in it is loaded from elsewhere."""
    svg = draw(tmp_path, [encode(event) for event in whole_run()], "--after", "guest_waiting")
    assert "waiting for the guest, attempt 2, 2.4s" in words(
        draw(tmp_path, [encode(e) for e in whole_run()], "--at", "8")
    )
    assert "stage-2: /nix/store is read-only" in words(svg)
    assert svg.count("http") == svg.count("http://www.w3.org/2000/svg")
    assert "url(" not in svg.replace("url(#", "")


def test_picture_of_a_hostile_run(tmp_path: Path) -> None:
    """A log cannot put elements or control characters into the picture."""
    svg = draw(tmp_path, [encode(event) for event in hostile_run()])
    assert "[bold red]red[/]" in words(svg)
