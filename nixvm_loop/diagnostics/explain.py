"""What an error of Nix means for the user: one sentence, a place in the tree, and the fix where it is known."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from nixvm_loop.diagnostics import modules
from nixvm_loop.model.values import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nixvm_loop.diagnostics.tree import UserTree
    from nixvm_loop.model.nixerror import NixError, Place

_ABSENT: Final = re.compile(
    r"(?:getting status of|opening file|cannot read|path) '(?P<name>[^']+)'(?:: No such file| does not exist)"
)
_UNTRACKED: Final = re.compile(
    r"[Pp]ath '(?P<rest>[^']+)' in the repository [\"'](?P<repo>[^\"']+)[\"'] is not tracked"
)
_BUILDER: Final = re.compile(
    r"builder for '(?P<old>[^']+)' (?P<old_reason>failed[^;\n]*)"
    r"|Cannot build '(?P<new>[^']+)'\.\s*Reason: (?:builder )?(?P<new_reason>[^\n]*)"
)
_FOLLOWS_FROM_ANOTHER: Final = re.compile(
    r"\d+ dependenc(y|ies) (of derivation .* )?failed|build of .* failed|some errors were encountered"
    r"|[Bb]uild failed due to failed dependency|Reason: \d+ dependenc"
)
_SPECIFIED_HASH: Final = re.compile(r"hash mismatch in .*?specified:\s*(?P<hash>\S+)", re.DOTALL)
_LOG_PLACE: Final = re.compile(r"(?P<file>[\w./+~@-]++):(?P<line>\d+)(?::(?P<column>\d+))?")
_QUOTED_PATH: Final = re.compile(r"[`'\"](/[^`'\"\s]+)['\"]")
_STORE_NAME: Final = re.compile(r"/nix/store/[a-z0-9]{32}-(.+?)(?:\.drv)?")
_CONFLICT: Final = "has conflicting definition"
_SHORTEST_SEARCH: Final = 8
_LONGEST_LINE: Final = 1000
_LONGEST_TEXT: Final = 10_000
_Spot: TypeAlias = "tuple[Path, int, int]"


@dataclass(frozen=True, slots=True)
class Explanation:
    """An error in the user's terms.

    Attributes:
        diagnostic: Message and place; the place is the flake's first line when nothing better is known.
        placed: Whether the place is the error's own.
        hint: What to do, where that is known.
        log: The end of the failed builder's log.
    """

    diagnostic: Diagnostic
    placed: bool
    hint: str | None = None
    log: tuple[str, ...] = ()


def explain(errors: Sequence[NixError], tree: UserTree, logs: Mapping[str, Sequence[str]]) -> tuple[Explanation, ...]:
    """The explanations of a failed run's errors, causes only, the first cause first.

    Args:
        errors: In the order in which Nix gave them.
        tree: The user's files.
        logs: The ends of the builders' logs, by derivation.
    """
    causes = [error for error in errors if not _FOLLOWS_FROM_ANOTHER.search(error.text)] or list(errors)
    found: dict[Diagnostic, Explanation] = {}
    for cause in causes:
        error = replace(cause, text=cause.text[:_LONGEST_TEXT])
        for explanation in _explain(error, tree, logs):
            found.setdefault(explanation.diagnostic, explanation)
    return tuple(found.values())


def first_sentence(text: str) -> str:
    """A message on one line: what comes before lists of values, suggestions and further paragraphs."""
    paragraph = text.strip().partition("\n\n")[0]
    paragraph = re.split(r"\n- |\n\s*at /", paragraph)[0]
    paragraph = re.sub(r"\s*Definition values:$", "", paragraph)
    return " ".join(paragraph.split()).rstrip(":.")


def _explain(error: NixError, tree: UserTree, logs: Mapping[str, Sequence[str]]) -> tuple[Explanation, ...]:
    if (match := _BUILDER.search(error.text)) is not None:
        return (_failed_builder(match, tree, logs),)
    if (assertions := modules.failed_assertions(error.text)) != ():
        return tuple(_assertion(message, error, tree) for message in assertions)
    if (untracked := _untracked(error, tree)) is not None:
        return (untracked,)
    message = first_sentence(tree.shorten(error.text)) or "Nix gave no reason"
    if (absent := _ABSENT.search(error.text)) is not None:
        message = f"{tree.shorten(absent['name'])} does not exist"
    spots = _spots(error, tree)
    return tuple(_explanation(tree, spot, message, hint=modules.suggestion(error.text)) for spot in spots)


def _spots(error: NixError, tree: UserTree) -> Sequence[_Spot | None]:
    own = _own(error, tree)
    if own is not None:
        return (own,)
    definitions = _definitions(error, tree)
    if definitions:
        return definitions if _CONFLICT in error.text else definitions[:1]
    return (_trace(error, tree),)


def _explanation(
    tree: UserTree, spot: _Spot | None, message: str, *, hint: str | None = None, log: Sequence[str] = ()
) -> Explanation:
    file, line, column = spot or (tree.flake_file, 1, 1)
    diagnostic = Diagnostic(file, line, column, Severity.ERROR, message)
    return Explanation(diagnostic, placed=spot is not None, hint=hint, log=tuple(log))


def _failed_builder(match: re.Match[str], tree: UserTree, logs: Mapping[str, Sequence[str]]) -> Explanation:
    derivation = match["old"] or match["new"]
    reason = (match["old_reason"] or match["new_reason"]).rstrip(".")
    named = _STORE_NAME.fullmatch(derivation)
    log = logs.get(derivation, ())
    message = f"the builder of {derivation if named is None else named[1]} {reason}"
    return _explanation(tree, _in_log(log, tree), message, hint=f"the whole log: nix log {derivation}", log=log)


def _in_log(log: Sequence[str], tree: UserTree) -> _Spot | None:
    """The user's file and line that a builder complained about."""
    for line in log:
        for match in _LOG_PLACE.finditer(line[:_LONGEST_LINE]):
            name = match["file"]
            names = [name] if name.startswith("/") else [str(root.path / name) for root in tree.roots]
            for file in filter(None, map(tree.locate, names)):
                return file, max(1, int(match["line"])), max(1, int(match["column"] or 1))
    return None


def _assertion(message: str, error: NixError, tree: UserTree) -> Explanation:
    spot = _search(message.splitlines()[0], tree) or _trace(error, tree)
    return _explanation(tree, spot, f"failed assertion: {first_sentence(message)}")


def _untracked(error: NixError, tree: UserTree) -> Explanation | None:
    if (match := _UNTRACKED.search(error.text)) is not None:
        name = f"{match['repo'].rstrip('/')}/{match['rest']}"
    elif (match := _ABSENT.search(error.text)) is not None:
        name = match["name"]
    else:
        return None
    unseen = tree.unseen(name)
    if unseen is None:
        return None
    path, root = unseen
    short = str(path.relative_to(root.path))
    hint = shlex.join(["git", "-C", str(root.path), "add", "-N", short])
    spot = _own(error, tree) or _trace(error, tree) or _reference(short, tree)
    if spot is None and tree.files.read(path) is not None:
        spot = path, 1, 1
    return _explanation(tree, spot, f"{short} is not tracked by git, so Nix does not see it", hint=hint)


def _own(error: NixError, tree: UserTree) -> _Spot | None:
    return None if error.place is None else _spot(error.place, tree)


def _trace(error: NixError, tree: UserTree) -> _Spot | None:
    """The frame nearest the error: in the flake itself, or else where the error quotes, or in another local input."""
    spots = [spot for place in error.trace if (spot := _spot(place, tree)) is not None]
    own = next((spot for spot in spots if tree.is_own(spot[0])), None)
    return own or _written(error, tree) or next(iter(spots), None)


def _spot(place: Place, tree: UserTree) -> _Spot | None:
    file = tree.locate(place.file)
    return None if file is None else (file, place.line, max(1, place.column))


def _definitions(error: NixError, tree: UserTree) -> list[_Spot]:
    """Where the option of a module error is defined, the flake's own files first."""
    option = modules.option_of(error.text)
    files = [file for name in modules.files_of(error.text) if (file := tree.locate(name)) is not None]
    files.sort(key=tree.is_own, reverse=True)
    texts = {file: tree.files.read(file) or "" for file in files}
    return [(file, *(modules.position_of(option, text) if option else (1, 1))) for file, text in texts.items()]


def _written(error: NixError, tree: UserTree) -> _Spot | None:
    """Where the tree says what the error quotes: a missing file's name, a hash, the text of a `throw`."""
    if (match := _ABSENT.search(error.text)) is not None:
        return _reference(re.sub(r"^/nix/store/[^/]+/", "", match["name"]), tree)
    if (match := _SPECIFIED_HASH.search(error.text)) is not None:
        return _search(match["hash"], tree)
    for name in _QUOTED_PATH.findall(error.text):
        if (file := tree.locate(name)) is not None:
            return file, 1, 1
    return _search(error.text.splitlines()[0] if error.text else "", tree)


def _reference(name: str, tree: UserTree) -> _Spot | None:
    """Where a file is named: by its path from the top, or by ever shorter ends of it."""
    parts = name.split("/")
    for start in range(len(parts)):
        found = tree.find("/".join(parts[start:]))
        if found is not None:
            return *found, 1
    return None


def _search(text: str, tree: UserTree) -> _Spot | None:
    found = tree.find(text) if len(text) >= _SHORTEST_SEARCH else None
    return None if found is None else (*found, 1)
