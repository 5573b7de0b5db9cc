"""What a flake is made of on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nixvm_loop.errors import BuildError
from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.nix.flakeref import for_nix, local_flake
from nixvm_loop.nix.lockfile import local_inputs
from nixvm_loop.nix.sources import missing_lock, override_arguments, source_roots
from tests.nix.flakes import git, guest_of

GIT, FOLDER = SourceKind.GIT, SourceKind.FOLDER


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A git checkout with a folder in it."""
    top = tmp_path / "repo"
    (top / "sub").mkdir(parents=True)
    git(top, "init", "-q")
    return top


def lock(**nodes: object) -> str:
    inputs = {name: name for name in nodes if "/" not in name}
    return json.dumps({"nodes": {"root": {"inputs": inputs}, **nodes}, "root": "root", "version": 7})


def path_node(path: object, **more: object) -> dict[str, object]:
    return {"locked": {"type": "path", "path": str(path), "narHash": "x"}, "original": {"type": "path"}, **more}


def git_node(at: str, **original: object) -> dict[str, object]:
    return {"locked": {"type": "git", "url": at, "ref": "master", "rev": "0" * 40}, "original": original}


@pytest.mark.parametrize(
    ("reference", "root", "pinned"),
    [
        ("{repo}", SourceRoot(Path("{repo}"), GIT), False),
        ("{repo}/sub", SourceRoot(Path("{repo}"), GIT), False),
        ("{repo}?submodules=1", SourceRoot(Path("{repo}"), GIT, submodules=True), False),
        ("{repo}?ref=main", SourceRoot(Path("{repo}"), GIT), True),
        ("path:{repo}/sub", SourceRoot(Path("{repo}/sub"), FOLDER), False),
        ("path:{repo}/a%20b", SourceRoot(Path("{repo}/a b"), FOLDER), False),
        ("git+file://{repo}?dir=sub", SourceRoot(Path("{repo}"), GIT), False),
        ("git+file:{repo}", SourceRoot(Path("{repo}"), GIT), False),
        ("git+file://{repo}?rev=abc&submodules=1", SourceRoot(Path("{repo}"), GIT, submodules=True), True),
        ("{repo}/..", SourceRoot(Path("{parent}"), FOLDER), False),
    ],
)
def test_local_references(repo: Path, reference: str, root: SourceRoot, *, pinned: bool) -> None:
    """A plain path inside git means the repository; `path:` means the folder; a commit or branch pins."""
    fill = {"repo": repo, "parent": repo.parent}
    flake = local_flake(reference.format(**fill))
    assert flake is not None
    assert flake.root == SourceRoot(Path(str(root.path).format(**fill)), root.kind, root.submodules)
    assert flake.pinned is pinned


@pytest.mark.parametrize("reference", ["github:NixOS/nixpkgs", "nixpkgs", ".", "path:.", "git+ssh://host/x", ""])
def test_other_references(reference: str) -> None:
    """What is remote, indirect or relative has no tree here."""
    assert local_flake(reference) is None


def test_a_worktree_of_git_has_its_own_top(repo: Path, tmp_path: Path) -> None:
    """In a linked worktree `.git` is a file; its top is the worktree."""
    git(repo, "commit", "-q", "--allow-empty", "-m", "first")
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
    flake = local_flake(str(tmp_path / "linked"))
    assert flake is not None
    assert flake.root == SourceRoot(tmp_path / "linked", GIT)


def test_references_that_nix_cannot_read_are_rewritten(repo: Path, tmp_path: Path) -> None:
    """A space is possible in a URL only; everything else is given as it was."""
    (repo / "a b").mkdir()
    (tmp_path / "c d").mkdir()
    assert for_nix(f"{repo}/sub") == f"{repo}/sub"
    assert for_nix("github:a/b") == "github:a/b"
    assert for_nix(f"{repo}/a b") == f"git+file://{repo}?dir=a%20b"
    assert for_nix(f"{repo}/a b?submodules=1") == f"git+file://{repo}?submodules=1&dir=a%20b"
    assert for_nix(str(tmp_path / "c d")) == f"path:{tmp_path}/c%20d"


def test_inputs_of_a_lock_file() -> None:
    """Folders and git checkouts are local; what is remote, pinned or in the store is not."""
    text = lock(
        folder=path_node("/home/me/folder"),
        checkout=git_node("file:///home/me/checkout", type="git", url="file:///home/me/checkout"),
        branch=git_node("file:///home/me/branch", ref="stable"),
        remote=git_node("https://example.org/x.git"),
        registry=path_node("/nix/store/8k200zwbdh6zk8r3r9cxiqfp1yypvycr-source"),
        tarball={"locked": {"type": "tarball", "url": "file:///x"}, "original": {}},
    )
    assert [(item.name, item.reference, item.root) for item in local_inputs(text, Path("/flake"))] == [
        ("folder", "path:/home/me/folder", SourceRoot(Path("/home/me/folder"), FOLDER)),
        ("checkout", "git+file:///home/me/checkout", SourceRoot(Path("/home/me/checkout"), GIT)),
    ]


def test_relative_inputs() -> None:
    """Old locks name them from the flake's folder; newer ones (`parent`) are read afresh by Nix itself."""
    text = lock(old=path_node("./old"), up=path_node("../up"), new=path_node("./new", parent=[]))
    assert [item.reference for item in local_inputs(text, Path("/home/me/flake"))] == [
        "path:/home/me/flake/old",
        "path:/home/me/up",
    ]


def test_inputs_of_inputs_and_those_that_follow() -> None:
    """A nested input has a path of names; one that follows another comes with that one; a circle ends."""
    nodes = {
        "root": {"inputs": {"a": "a", "n": ["a", "n"]}},
        "a": path_node("/a", inputs={"n": "n", "self": ["a"]}),
        "n": path_node("/n", inputs={"back": "a"}),
    }
    text = json.dumps({"nodes": nodes, "root": "root", "version": 7})
    assert [item.name for item in local_inputs(text, Path("/flake"))] == ["a", "a/n"]


def test_directories_and_submodules_of_git_inputs() -> None:
    """What the reference asks for beside the repository is kept."""
    locked = {"type": "git", "url": "file:///r%20s", "dir": "x y", "submodules": True, "rev": "0"}
    (item,) = local_inputs(lock(a={"locked": locked, "original": {}}), Path("/flake"))
    assert item.reference == "git+file:///r%20s?dir=x%20y&submodules=1"
    assert item.root == SourceRoot(Path("/r s"), GIT, submodules=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": {}}', '{"nodes": {"root": []}}', "<<<<<<< HEAD"])
def test_a_broken_lock_file(text: str, repo: Path) -> None:
    """Conflict marks and other shapes end in an error that names the file."""
    with pytest.raises(ValueError, match=r".+"):
        local_inputs(text, Path("/flake"))
    (repo / "flake.lock").write_text(text)
    with pytest.raises(BuildError, match=r"flake\.lock:1:1: the lock file cannot be read"):
        source_roots(guest_of(repo))


def test_roots_and_overrides_of_a_flake(repo: Path, tmp_path: Path) -> None:
    """Its own tree first, then its local inputs; inputs whose folder is gone are left to the lock."""
    for name in ("a", "b", "own"):
        (tmp_path / name).mkdir()
    nodes = {
        "root": {"inputs": {"a": "a", "b": "b", "gone": "gone"}},
        "a": path_node(tmp_path / "a", inputs={"n": "n"}),
        "n": path_node(tmp_path / "b"),
        "b": path_node(tmp_path / "b"),
        "gone": path_node(tmp_path / "gone"),
    }
    (repo / "flake.lock").write_text(json.dumps({"nodes": nodes, "root": "root", "version": 7}))
    a, b, own = (f"path:{tmp_path / name}" for name in ("a", "b", "own"))
    assert override_arguments(guest_of(repo)) == (
        *("--override-input", "a", a),
        *("--override-input", "a/n", b),
        *("--override-input", "b", b),
    )
    # The configured one wins, with all that is below it.
    guest = guest_of(repo, overrides={"a": own})
    assert override_arguments(guest) == ("--override-input", "b", b, "--override-input", "a", own)
    assert source_roots(guest)[:1] == (SourceRoot(repo, GIT),)
    assert SourceRoot(tmp_path / "own", FOLDER) in source_roots(guest)
    assert len(set(source_roots(guest))) == len(source_roots(guest))


def test_roots_of_a_flake_without_a_lock(repo: Path, tmp_path: Path) -> None:
    """Local inputs are read from the flake's text, and the missing lock is worth a word."""
    assert missing_lock(guest_of(repo)) is None
    (repo / "flake.nix").write_text(f'{{\n  inputs.a.url = "path:{tmp_path}/a";\n  outputs = _: {{ }};\n}}\n')
    assert source_roots(guest_of(repo)) == (SourceRoot(repo, GIT), SourceRoot(tmp_path / "a", FOLDER))
    notice = missing_lock(guest_of(repo))
    assert notice is not None
    assert notice.hint == f"nix flake lock {repo}"
    (repo / "flake.lock").write_text(lock())
    assert missing_lock(guest_of(repo)) is None


@pytest.mark.parametrize("text", ["inputs.self.submodules = true;", "inputs = { self = { submodules = true; }; };"])
def test_a_flake_that_asks_for_its_submodules(repo: Path, text: str) -> None:
    """Newer Nix lets the flake itself say so."""
    (repo / "flake.nix").write_text("{ " + text + " outputs = _: { }; }")
    assert source_roots(guest_of(repo))[0].submodules
    (repo / "flake.nix").write_text("{ outputs = _: { }; }")
    assert not source_roots(guest_of(repo))[0].submodules


def test_a_remote_flake_has_no_roots(tmp_path: Path) -> None:
    """Nothing here can change it, except inputs that the config puts in."""
    guest = guest_of(tmp_path, flake="github:a/b", overrides={"x": f"path:{tmp_path}"})
    remote = type(guest)(**{**{name: getattr(guest, name) for name in guest.__slots__}, "flake_dir": None})
    assert source_roots(remote) == (SourceRoot(tmp_path, FOLDER),)
    assert missing_lock(remote) is None
