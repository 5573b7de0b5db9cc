from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.config import loads
from nixvm_loop.config.flakes import default_attribute
from nixvm_loop.config.keys import NAME
from nixvm_loop.config.reference import reference
from nixvm_loop.config.starter import Owner, Starter, guest_name
from nixvm_loop.config.typed import is_expressible, last_name, typed_attribute, typed_flake, typed_name
from nixvm_loop.errors import UsageError
from nixvm_loop.model.settings import MachineSettings

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
FILE = Path("/project/nixvm-loop.toml")
ODD = ["demo", "my.host", "a b", "x:y", "a_b'c", "-x", "ä", "it's my.host"]


def starter(name: str, owner: Owner = Owner.NIXVM_LOOP) -> Starter:
    return Starter(guest_name(name), ".", default_attribute(name), owner)


def test_the_texts_are_those_of_the_reference() -> None:
    """Every comment and every default of a first file, but for names, stands in config.example.toml as well."""
    known = EXAMPLE.read_text().splitlines()
    for owner in Owner:
        lines = starter("demo", owner).text().splitlines()[2:]
        assert {line for line in lines if line} - set(known) == {'flake = "."'}


def test_the_reference_is_read_whole() -> None:
    """Every key of every table is found, with what is said of it."""
    tables = reference()
    assert {"", "watch", "build", "apply", "machine", "ssh", "store", "checks"} <= set(tables)
    assert sum(len(table.keys) for table in tables.values()) == len(
        re.findall(r"^# [a-z_]+ = ", EXAMPLE.read_text(), re.MULTILINE)
    )
    assert all(entry.comment for table in tables.values() for entry in table.keys.values())


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("owner", list(Owner))
def test_what_is_written_can_be_read(name: str, owner: Owner) -> None:
    """Our own reader takes the file and understands what was meant, whatever the configuration's name is."""
    made = starter(name, owner)
    guest = loads(made.text(), FILE).guests[made.name]
    assert guest.attribute == default_attribute(name)
    assert guest.flake_dir == Path("/project")
    assert guest.domain == made.name
    assert guest.machine == (MachineSettings() if owner is Owner.NIXVM_LOOP else None)


@pytest.mark.parametrize("name", ODD)
def test_the_commented_keys_are_the_defaults(name: str) -> None:
    """Taking away a `# ` before a key changes nothing."""
    made = starter(name)
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", made.text(), flags=re.MULTILINE)
    assert loads(uncommented, FILE) == loads(made.text(), FILE)
    assert uncommented != made.text()


@given(st.text(min_size=1))
def test_a_guest_is_named_after_anything(name: str) -> None:
    """Whatever a configuration is called, a guest's name comes of it; one that can be a guest's stays."""
    named = guest_name(name)
    assert re.fullmatch(NAME, named)
    assert len(named) <= 100
    if re.fullmatch(NAME, name) and not name.endswith("-"):
        assert named == name[:100]


def test_names_that_cannot_be_written() -> None:
    """What Nix or the reader would take for something else is known before it is written."""
    names = ('a"b', "a#b", "${x}", "n\nl", "a\\b", "a^b")
    assert not [name for name in names if is_expressible(default_attribute(name), FILE.parent)]
    assert all(is_expressible(default_attribute(name), FILE.parent) for name in ODD)


def test_attributes_are_taken_apart() -> None:
    """The last name of a path and the set it is in, quotes or not."""
    assert last_name("nixosConfigurations.demo") == ("nixosConfigurations", "demo")
    assert last_name('a."b.c"."my.host"') == ('a."b.c"', "my.host")
    assert last_name("demo") == ("", "demo")


def test_what_is_typed_wrongly() -> None:
    """Options are read as the config's keys are, and each mistake is told with its option."""
    here = Path("/project")
    with pytest.raises(UsageError, match=r'--flake: leave out "#web"') as caught:
        typed_flake("./x#web", here)
    assert caught.value.hint == "--flake ./x says where, --guest web or --attribute which configuration"
    with pytest.raises(UsageError, match="--flake: expected a flake reference"):
        typed_flake("", here)
    with pytest.raises(UsageError, match=r"--attribute: leave out \.config\.system"):
        typed_attribute("nixosConfigurations.a.config.system.build.toplevel", here)
    with pytest.raises(UsageError, match="--guest: expected a name of letters"):
        typed_name("a b", here)
