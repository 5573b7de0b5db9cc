from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.config import find, loads, select, select_for
from nixvm_loop.errors import ConfigError, UsageError

BOTH = loads("[guests.web]\n[guests.mail]", Path("/x.toml"))


def test_the_nearest_file_upwards(tmp_path: Path) -> None:
    """The file of this folder comes before that of a folder above; a folder of its name does not count."""
    below = tmp_path / "a/b"
    (below / "nixvm-loop.toml").mkdir(parents=True)
    (tmp_path / "nixvm-loop.toml").touch()
    assert find(None, {}, below) == tmp_path / "nixvm-loop.toml"
    (tmp_path / "a/nixvm-loop.toml").touch()
    assert find(None, {}, below) == tmp_path / "a/nixvm-loop.toml"


def test_the_order(tmp_path: Path) -> None:
    """The option comes before the variable, the variable before the search; an empty variable is none."""
    for name in ("option.toml", "variable.toml", "nixvm-loop.toml"):
        (tmp_path / name).touch()
    environ = {"NIXVM_LOOP_CONFIG": "variable.toml"}
    assert find(Path("option.toml"), environ, tmp_path) == tmp_path / "option.toml"
    assert find(None, environ, tmp_path) == tmp_path / "variable.toml"
    assert find(None, {"NIXVM_LOOP_CONFIG": ""}, tmp_path) == tmp_path / "nixvm-loop.toml"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A named file that is missing is an error that says who named it, even if the search would find another."""
    (tmp_path / "nixvm-loop.toml").touch()
    with pytest.raises(ConfigError, match=r"^there is no configuration file x\.toml$"):
        find(Path("x.toml"), {}, tmp_path)
    with pytest.raises(ConfigError, match=r"x\.toml \(named by \$NIXVM_LOOP_CONFIG\)"):
        find(None, {"NIXVM_LOOP_CONFIG": "x.toml"}, tmp_path)


def test_no_file_at_all(tmp_path: Path) -> None:
    """Without any file the hint says what writes one."""
    with pytest.raises(ConfigError, match=r"there is no nixvm-loop\.toml in") as caught:
        find(None, {}, tmp_path)
    assert "`nixvm-loop init` writes one" in (caught.value.hint or "")


def test_the_only_guest_needs_no_name() -> None:
    """One guest is the guest; of several one is chosen by name."""
    assert select(loads("[guests.web]", Path("/x.toml")), None).name == "web"
    assert select(BOTH, "mail").name == "mail"


def test_which_guest_is_meant() -> None:
    """Several guests and no name, or an unknown name, are errors that list the guests, with a suggestion."""
    with pytest.raises(UsageError, match="2 guests are configured") as caught:
        select(BOTH, None)
    assert caught.value.hint == "choose one with --guest: web, mail"
    with pytest.raises(UsageError, match='there is no guest "mial"') as caught:
        select(BOTH, "mial")
    assert caught.value.hint == "did you mean mail? configured: web, mail"
    with pytest.raises(UsageError) as caught:
        select(BOTH, "zzz")
    assert caught.value.hint == "configured: web, mail"


def test_the_guest_of_a_domain() -> None:
    """A domain means the guest that has it; a name beside it has to agree, and chooses among several."""
    assert select_for(BOTH, "mail", None).name == "mail"
    assert select_for(BOTH, "mail", "mail").name == "mail"
    with pytest.raises(UsageError, match="guest web has the domain web, not mail") as caught:
        select_for(BOTH, "mail", "web")
    assert 'domain = "mail" into [guests.web]' in (caught.value.hint or "")
    twins_text = '[guests.a]\nflake = "."\ndomain = "x"\n[guests.b]\nflake = "."\ndomain = "x"'
    twins = loads(f'{twins_text}\nlibvirt_uri = "qemu:///session"', Path("/x.toml"))
    with pytest.raises(UsageError, match="2 guests have the domain x") as caught:
        select_for(twins, "x", None)
    assert caught.value.hint == "choose one with --guest: a, b"
    assert select_for(twins, "x", "b").name == "b"
    with pytest.raises(UsageError, match=r"no guest in /x\.toml has the domain mial") as caught:
        select_for(BOTH, "mial", None)
    assert (caught.value.hint or "").startswith("did you mean mail? Otherwise add two lines, `[guests.mial]`")
