from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from nixvm_loop.config import load, loads
from nixvm_loop.errors import ConfigError
from nixvm_loop.model.settings import (
    CheckSettings,
    Disk,
    DiskFormat,
    FolderShare,
    Forward,
    GuestSettings,
    HostKeyPolicy,
    MachineSettings,
    OnChange,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def guest(text: str, file: Path = Path("/project/nixvm-loop.toml")) -> GuestSettings:
    return loads(f"[guests.demo]\n{text}", file).guests["demo"]


def problems(text: str) -> list[str]:
    """The problems of a guest's text, without file, line and guest."""
    with pytest.raises(ConfigError) as caught:
        guest(text)
    return [line.partition(": ")[2].removeprefix("guests.demo.") for line in caught.value.details]


def test_two_lines_are_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A guest that follows the conventions needs its name and its flake; the rest are the defaults."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "nixvm-loop.toml").write_text('[guests.demo]\nflake = "."\n')
    settings = load(tmp_path / "nixvm-loop.toml")
    assert settings.file == tmp_path / "nixvm-loop.toml"
    assert settings.guests == {
        "demo": GuestSettings(
            name="demo",
            flake=str(tmp_path),
            flake_dir=tmp_path,
            attribute="nixosConfigurations.demo",
            domain="demo",
            libvirt_uri="qemu:///system",
            state_dir=tmp_path / "state/nixvm-loop/demo",
        )
    }


def test_every_kind_of_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations, sizes, shares, ports, words and paths arrive in the units of the settings."""
    monkeypatch.setenv("HOME", "/home/me")
    read = guest(
        """
        state_dir = "~/state"
        keep = 3
        watch = { paths = ["../shared", "/etc/x"], ignore = ["*.md"], quiet = "1.5s", on_change = "finish" }
        build = { options = ["--max-jobs", "4"], override_inputs = { nixpkgs = "../nixpkgs", "a/b" = "github:o/r" } }
        apply = { stop = "force", stop_timeout = "0s", boot_timeout = "5m", kernel_params = ["quiet", 'a="b c"'] }
        machine = { memory = "512MiB", forward = ["8080:80"] }
        ssh = { host = "10.0.0.2", port = 22, key = "id", host_key = "pinned", proxy_command = ["nc", "-U", "s"] }
        store = { warn_at = "50%" }
        checks = [{ name = "web", command = "true", timeout = "3s" }, { name = "store-write", required = false }]
        """
    )
    assert read.state_dir == Path("/home/me/state/demo")
    assert read.watch.paths == (Path("/shared"), Path("/etc/x"))
    assert (read.watch.quiet_s, read.watch.on_change) == (1.5, OnChange.FINISH)
    assert read.build.override_inputs == {"nixpkgs": "/nixpkgs", "a/b": "github:o/r"}
    assert (read.apply.stop_timeout_s, read.apply.boot_timeout_s) == (0, 300)
    assert read.apply.kernel_params == ("quiet", 'a="b c"')
    assert read.machine == MachineSettings(memory_bytes=2**29, forward=(Forward(8080, 80),))
    assert (read.ssh.port, read.ssh.key, read.ssh.host_key) == (22, Path("/project/id"), HostKeyPolicy.PINNED)
    assert read.ssh.proxy_command == ("nc", "-U", "s")
    assert read.store.warn_at == 0.5
    assert read.checks == (
        CheckSettings("web", "true", 3.0, required=False),
        CheckSettings("store-write", None, 10.0, required=False),
    )


def test_all_problems_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every problem is one line with its place in the file, its key path and what was expected or meant."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nixvm-loop.toml"
    file.write_text(
        """\
notify = {}
[guest.demo]
[guests.demo]
flake = "."
atribute = "x"
ssh_port = 22
domain = "-x"

[guests.demo.apply] # a comment
stop_timeout = 10
mode = "automatic"
rollback = "yes"
kernel_params = ["a b", "init=/x", 3]
[guests.demo.aply]

[guests.demo.machine]
queue = 2048
memory = "9999999GiB"
vcpus = true
forward = [
  "80",
]
disks = [{ path = "a", size = "1GiB" }, {}]
[[guests.demo.checks]]
name = "system"
command = "x"
[[guests.demo.checks]]
name = "failed-unit"
[[guests.demo.checks]]
timeout = "1"
[guests."-x"]
"""
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.message == "nixvm-loop.toml: 24 problems"
    assert "\n".join(caught.value.details) == snapshot("""\
nixvm-loop.toml:1: notify: not available in this version
nixvm-loop.toml:2: guest: unknown key; did you mean guests?
nixvm-loop.toml:5: guests.demo.atribute: unknown key; did you mean guests.demo.attribute?
nixvm-loop.toml:6: guests.demo.ssh_port: unknown key; did you mean guests.demo.machine.ssh_port?
nixvm-loop.toml:7: guests.demo.domain: expected a domain's name, without slashes and not starting with a blank, - or ., not "-x"
nixvm-loop.toml:10: guests.demo.apply.stop_timeout: expected a duration with its unit, such as "40ms", "2s" or "5m", not 10
nixvm-loop.toml:11: guests.demo.apply.mode: expected "restart" or "auto" or "switch", not "automatic"
nixvm-loop.toml:12: guests.demo.apply.rollback: expected true or false, not "yes"
nixvm-loop.toml:13: guests.demo.apply.kernel_params[0]: expected one kernel parameter that is not init=, not "a b"
nixvm-loop.toml:13: guests.demo.apply.kernel_params[1]: expected one kernel parameter that is not init=, not "init=/x"
nixvm-loop.toml:13: guests.demo.apply.kernel_params[2]: expected one kernel parameter that is not init=, not 3
nixvm-loop.toml:14: guests.demo.aply: unknown key; did you mean guests.demo.apply?
nixvm-loop.toml:17: guests.demo.machine.queue: expected a whole number from 1 to 1024, not 2048
nixvm-loop.toml:18: guests.demo.machine.memory: expected a size from "64MiB" to "16384GiB", not "9999999GiB"
nixvm-loop.toml:19: guests.demo.machine.vcpus: expected a whole number from 1 to 255, not true
nixvm-loop.toml:20: guests.demo.machine.forward[0]: expected a port of the host and one of the guest, such as "8080:80", not "80"
nixvm-loop.toml:23: guests.demo.machine.disks[0].size: unknown key; known here: format, path, readonly
nixvm-loop.toml:23: guests.demo.machine.disks[1]: the key `path` is missing
nixvm-loop.toml:24: guests.demo.checks[0]: "system" is a built-in check: the key `required` is missing, which is all that can be set
nixvm-loop.toml:26: guests.demo.checks[0].command: "system" is a built-in check: only `required` can be set
nixvm-loop.toml:27: guests.demo.checks[1]: the key `command` is missing; did you mean the check "failed-units"?
nixvm-loop.toml:29: guests.demo.checks[2]: the key `name` is missing
nixvm-loop.toml:30: guests.demo.checks[2].timeout: expected a duration with its unit, such as "40ms", "2s" or "5m", not "1"
nixvm-loop.toml:31: guests.-x: expected a name of letters, digits, dots, dashes and underscores that starts with none of - and ., not "-x"\
""")  # noqa: E501  # as users see it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[guests.demo\n", "nixvm-loop.toml:1:13: not TOML: Expected ']' at the end of a table declaration"),
        ('[guests.demo]\nflake = "', "nixvm-loop.toml:2:1: not TOML: Unterminated string"),
        ("a = 1\na = 2\n", "nixvm-loop.toml:2:6: not TOML: Cannot overwrite a value"),
        ("x = " + "[" * 100_000, "nixvm-loop.toml: the values are nested too deeply"),
    ],
)
def test_what_is_not_toml(text: str, message: str) -> None:
    """A syntax error is told with its line and column."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("nixvm-loop.toml"))
    assert caught.value.message == message


def test_a_number_that_python_does_not_read() -> None:
    """An integer of thousands of digits is an error of the file, not a bug."""
    with pytest.raises(ConfigError, match="not TOML"):
        loads("x = " + "9" * 10_000, Path("nixvm-loop.toml"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in the file's place, and bytes that are not UTF-8, are errors with the place."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigError, match=r"x\.toml:2: the file is not UTF-8"):
        load(tmp_path / "x.toml")


@pytest.mark.parametrize("text", ["", "[guests]", "guests = {}"])
def test_no_guest(text: str) -> None:
    """A file without a guest says how to add one."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("/x.toml"))
    assert caught.value.details == ("/x.toml:1: guests: no guest is configured; add a table [guests.NAME]",)


@pytest.mark.parametrize(
    "text",
    [
        "guests = 3",
        "guests = [1]",
        "[guests]\nflake = '.'",
        "[guests]\ndemo = []",
        "[[guests.demo]]",
        "[guests.demo]\nssh = 3",
    ],
)
def test_what_should_be_a_table(text: str) -> None:
    """Another value in a table's place is a problem like any other."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("/x.toml"))
    assert "expected a table" in caught.value.details[0] or "expected tables" in caught.value.details[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('libvirt_uri = "qemu"', """libvirt_uri: expected a URI of libvirt, such as "qemu:///system", not "qemu\""""),
        ("keep = 0", "keep: expected a whole number from 1 to 1000, not 0"),
        ("keep = 1.0", "keep: expected a whole number from 1 to 1000, not 1.0"),
        ('machine.vcpus = "2"', 'machine.vcpus: expected a whole number from 1 to 255, not "2"'),
        ("machine.networks = ['a/b']", 'machine.networks[0]: expected the name of a network of libvirt\'s, not "a/b"'),
        ("machine.networks = 'default'", 'machine.networks: expected a list, not "default"'),
        ("machine.networks = ['a', 'a', 'a', 'a', 'a']", "machine.networks: expected at most 4 entries, not a list"),
        ("machine.disks = ['a']", 'machine.disks[0]: expected a table, not "a"'),
        ("machine.disks = { path = 'a' }", "machine.disks: expected a list, not a table"),
        ("machine.disks = [{ format = 'raw' }]", "machine.disks[0]: the key `path` is missing"),
        (
            "machine.disks = [{ path = 'a', size = 1 }]",
            "machine.disks[0].size: unknown key; known here: format, path, readonly",
        ),
        (
            "machine.disks = [{ path = 'a', form = 'raw' }]",
            "machine.disks[0].form: unknown key; did you mean guests.demo.machine.disks[0].format?",
        ),
        (
            "machine.disks = [{ path = 'a', format = 'vdi' }]",
            'machine.disks[0].format: expected "raw" or "qcow2", not "vdi"',
        ),
        ("machine.disks = [{ path = 'a', readonly = 1 }]", "machine.disks[0].readonly: expected true or false, not 1"),
        ("machine.shares = [{ tag = 'a' }]", "machine.shares[0]: the key `source` is missing"),
        (
            "machine.shares = [{ tag = 'a b', source = '/a' }]",
            'machine.shares[0].tag: expected a tag of at most 36 bytes, not "a b"',
        ),
        ("disks = []", "disks: unknown key; did you mean guests.demo.machine.disks?"),
        ("machine.ssh_port = 65536", "machine.ssh_port: expected a whole number from 1 to 65535, not 65536"),
        ('machine.memory = "1MiB"', 'machine.memory: expected a size from "64MiB" to "16384GiB", not "1MiB"'),
        ('watch.on_change = "stop"', 'watch.on_change: expected "cancel" or "finish", not "stop"'),
        ("watch.paths = 'x'", 'watch.paths: expected a list, not "x"'),
        ('store.warn_at = "80"', 'store.warn_at: expected a percentage up to 100, such as "80%", not "80"'),
        ('apply.boot_timeout = "0s"', 'apply.boot_timeout: expected a duration from "1s" to "3600s", not "0s"'),
        ("ssh.user = '-oProxyCommand=x'", """ssh.user: expected a user's name, not "-oProxyCommand=x\""""),
        ("ssh.host = '-x'", 'ssh.host: expected an address or a host name, not "-x"'),
        ("ssh.port = 'x'", 'ssh.port: expected a whole number from 1 to 65535, not "x"'),
        ("checks = [{ name = 'a', command = 'b', required = 1 }]", "checks[0].required: expected true or false, not 1"),
        ("state_dir = 1979-05-27", "state_dir: expected a path, not 1979-05-27"),
        (
            "checks = [{ name = 'store-contents', required = true }]",
            'checks[0].name: "store-contents" is not available in this version',
        ),
    ],
)
def test_a_value_out_of_its_range(text: str, problem: str) -> None:
    """The problem says what was expected and what was found."""
    assert problems(text) == [problem]


@pytest.mark.parametrize("character", ["\\u0000", "\\n", "\\r", "\\u001b", "\\u007f", "\\u0085", "\\u2028"])
@pytest.mark.parametrize(
    "key",
    [
        "flake",
        "attribute",
        "domain",
        "libvirt_uri",
        "state_dir",
        "ssh.host",
        "ssh.user",
        "ssh.key",
        "store.share",
        "store.mount_point",
        "store.ro_store",
        "store.rw_store",
    ],
)
def test_control_characters(key: str, character: str) -> None:
    """Nothing that goes to other programs holds a control character, at no place of the text."""
    for text in (f"/x{character}y", f"/x{character}"):
        (problem,) = problems(f'{key} = "{text}"')
        assert problem.startswith(f"{key}: expected ")


@pytest.mark.parametrize(
    "key",
    [
        "watch.paths",
        "watch.ignore",
        "build.options",
        "apply.kernel_params",
        "ssh.proxy_command",
        "machine.forward",
        "machine.networks",
    ],
)
def test_control_characters_in_lists(key: str) -> None:
    """Lists of words are as strict as single ones, and each bad entry is named."""
    assert [problem.partition(":")[0] for problem in problems(f'{key} = ["\\u0000", "a\\n"]')] == [
        f"{key}[0]",
        f"{key}[1]",
    ]


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a b", "ä", "a\n", "x" * 101])
def test_names_of_guests(name: str) -> None:
    """A guest's name is safe as a folder, as an argument and as a domain."""
    with pytest.raises(ConfigError):
        loads(f"[guests.{toml_string(name)}]", Path("/x.toml"))


def toml_string(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def test_checks_with_one_name() -> None:
    """Two checks of one name could not be told apart."""
    text = "checks = [{ name = 'a', command = 'b' }, { name = 'a', command = 'c' }]"
    assert problems(text) == ['checks[1].name: there is another check named "a"']


def test_a_check_after_an_invalid_one_keeps_its_name() -> None:
    """Only what is wrong is told, however many checks before it cannot be read; names are still taken once."""
    text = "checks = [{ name = 'a' }, 3, { name = 'b', command = 'c' }, { name = 'd', command = 'e' }]"
    assert problems(text) == ["checks[0]: the key `command` is missing", "checks[1]: expected a table, not 3"]
    twice = "checks = [{ name = 'a' }, { name = 'b', command = 'c' }, { name = 'b', command = 'e' }]"
    assert problems(twice)[1:] == ['checks[2].name: there is another check named "b"']


def test_a_built_in_check_has_nothing_but_required() -> None:
    """A built-in check's command and timeout are not the user's."""
    assert problems("checks = [{ name = 'kernel', required = true, timeout = '1s', command = 'x' }]") == [
        'checks[0].command: "kernel" is a built-in check: only `required` can be set',
        'checks[0].timeout: "kernel" is a built-in check: only `required` can be set',
    ]


def test_ports_of_the_host_are_taken_once() -> None:
    """Two guests on one port of the host are a problem, at the second one's place; so is a port forwarded twice."""
    text = """
[guests.a.machine]
forward = ["2223:22", "2223:23"]
[guests.b.machine]
[guests.c]
[guests.d.machine]
ssh_port = 2223
"""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("/x.toml"))
    assert caught.value.details == (
        "/x.toml:3: guests.a.machine.forward[1]: port 2223 of the host is also that of guests.a.machine.forward[0]",
        "/x.toml:4: guests.b.machine.ssh_port: port 2222 of the host is also that of guests.a.machine.ssh_port",
        "/x.toml:7: guests.d.machine.ssh_port: port 2223 of the host is also that of guests.a.machine.forward[0]",
    )


def test_two_guests_of_one_domain() -> None:
    """A problem, at the second one's place, also where the name is a default; another libvirt has its own domains."""
    text = """
[guests.a]
domain = "vm"
[guests.vm]
[guests.far]
domain = "vm"
libvirt_uri = "qemu+ssh://host/system"
[guests.b]
domain = "vm"
"""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("/x.toml"))
    also = 'the domain "vm" at qemu:///system is also that of guests.a.domain: give each guest a domain of its own'
    assert caught.value.details == (f"/x.toml:4: guests.vm.domain: {also}", f"/x.toml:9: guests.b.domain: {also}")


def test_a_machine_with_all_that_it_may_have(tmp_path: Path) -> None:
    """Relative paths start at the file's folder; what is left out has its default."""
    file = tmp_path / "nixvm-loop.toml"
    file.write_text("""
[guests.demo.machine]
networks = ["default", "isolated one"]
shares = [{ tag = "home", source = "../home", readonly = true }]
[[guests.demo.machine.disks]]
path = "data.qcow2"
[[guests.demo.machine.disks]]
path = "/dev/vg/data"
format = "auto"
readonly = true
""")
    machine = load(file).guests["demo"].machine
    assert machine is not None
    assert machine.networks == ("default", "isolated one")
    assert machine.forwards == ()
    assert machine.disks == (Disk(tmp_path / "data.qcow2"), Disk(Path("/dev/vg/data"), readonly=True))
    assert [disk.layout for disk in machine.disks] == [DiskFormat.QCOW2, DiskFormat.RAW]
    assert machine.shares == (FolderShare("home", tmp_path.parent / "home", readonly=True),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("machine = { networks = ['default'], ssh_port = 2222 }", ["machine.ssh_port"]),
        ("machine = { networks = ['default'], forward = ['8080:80'] }", ["machine.forward"]),
        ("machine = { networks = ['default'], forward = [] }", []),
        ("machine = { networks = [], ssh_port = 2222, forward = ['8080:80'] }", []),
    ],
)
def test_ports_and_networks_are_either_or(text: str, expected: list[str]) -> None:
    """A port that would lead nowhere is a problem at its place, not a surprise later."""
    if not expected:
        assert guest(text).machine is not None
        return
    found = problems(text)
    assert [problem.partition(":")[0] for problem in found] == expected
    assert all("guests.demo.machine.networks" in problem for problem in found)


def test_ports_of_guests_in_networks_are_free() -> None:
    """Two guests in networks of libvirt's do not both take port 2222 of the host."""
    text = "[guests.a.machine]\nnetworks = ['default']\n[guests.b.machine]\nnetworks = ['default']\n[guests.c.machine]"
    assert set(loads(text, Path("/x.toml")).guests) == {"a", "b", "c"}


def test_tags_and_disks_are_taken_once() -> None:
    """One tag for two folders, the store's included, and one file for two disks, however it is written."""
    shares = "[{ tag = 'a', source = '/a' }, { tag = 'my-store', source = '/b' }, { tag = 'a', source = '/c' }]"
    disks = "[{ path = '/d/a.img' }, { path = '/d/../d/a.img' }]"
    assert problems(f"machine = {{ shares = {shares}, disks = {disks} }}\nstore.share = 'my-store'") == [
        'machine.shares[1].tag: the tag "my-store" is also the shared store\'s',
        'machine.shares[2].tag: the tag "a" is also that of another share',
        'machine.disks[1].path: there is another disk with the path "/d/a.img"',
    ]


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
KEYS = ["flake", "attribute", "domain", "libvirt_uri", "state_dir", "keep", "watch", "build.options", "watch.quiet"]
KEYS += [
    "build.override_inputs",
    "apply.mode",
    "machine.memory",
    "machine.forward",
    "machine.networks",
    "machine.disks",
    "machine.shares",
    "ssh.key",
    "store.warn_at",
    "checks",
]


@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_is_taken_or_explained(key: str, value: object) -> None:
    """Whatever stands for a key, the outcome is settings or a ConfigError that names the key."""
    with suppress(ConfigError), told_of(f"guests.demo.{key}"):
        guest(f"{key} = {toml(value)}")


@contextmanager
def told_of(key: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        if not error.details or not all(key in line for line in error.details):
            pytest.fail(f"{error.details} should be about {key}")
        raise


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return toml_string(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return str(value)


def test_a_check_may_be_a_script_and_a_domain_may_have_any_name(tmp_path: Path) -> None:
    """Several lines of shell are one command; libvirt's names are not held to our own rules."""
    file = tmp_path / "nixvm-loop.toml"
    file.write_text(
        "[guests.demo]\ndomain = 'my vm+1'\nchecks = [{ name = 'a', command = '''\nset -e\n\ttrue\n''' }]\n"
    )
    guest = load(file).guests["demo"]
    assert guest.domain == "my vm+1"
    assert guest.checks[0].command == "set -e\n\ttrue\n"
