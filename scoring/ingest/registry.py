"""The mappings that ship with the project, and which of them fits a file."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from scoring.ingest.errors import UnknownLayout
from scoring.ingest.mapping import Mapping
from scoring.ingest.parse import read_mapping

_FOLDER = Path(__file__).parent / "mappings"


@cache
def shipped_mappings() -> tuple[Mapping, ...]:
    """Every mapping in `mappings/`, by name."""
    return tuple(read_mapping(path) for path in sorted(_FOLDER.glob("*.toml")))


def load_mapping(name_or_path: str | Path) -> Mapping:
    """A shipped mapping by its name ("handbook"), or any mapping file by its path.

    Raises:
        UnknownLayout: a name that no shipped mapping has.
        MappingError: the file at the path is missing or wrong.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return read_mapping(Path(name_or_path))
    for mapping in shipped_mappings():
        if mapping.name == name_or_path:
            return mapping
    raise UnknownLayout(
        f"There is no shipped mapping {name_or_path!r}.",
        remedy=f"Use one of {_names()}, or the path of a .toml file.",
    )


def detect_mapping(columns: Iterable[str]) -> Mapping:
    """The shipped mapping whose columns are all among `columns`.

    Where several fit, the one that uses most columns is taken.

    Raises:
        UnknownLayout: none fits; the message names the nearest one and the columns it misses.
    """
    present = frozenset(columns)
    mappings = shipped_mappings()
    fitting = [mapping for mapping in mappings if _recognised_by(mapping) <= present]
    if fitting:
        return max(fitting, key=lambda mapping: len(mapping.columns))
    nearest = max(mappings, key=lambda mapping: _overlap(mapping, present))
    missing = ", ".join(sorted(_recognised_by(nearest) - present))
    if _overlap(nearest, present) == 0:
        problem = f"No shipped mapping ({_names()}) shares a column with the file"
    else:
        problem = f"The nearest shipped mapping, {nearest.name!r}, needs the missing {missing}"
    raise UnknownLayout(
        f"{problem}; the file has {_listing(present)}.",
        remedy="Write a mapping file for these columns (copy one of scoring/ingest/mappings) and give its path.",
    )


def check_columns(mapping: Mapping, columns: Iterable[str], *, file_name: str) -> None:
    """Raise `UnknownLayout` where the file lacks a column that the mapping needs."""
    present = frozenset(columns)
    missing = sorted(mapping.columns - present)
    if missing:
        raise UnknownLayout(
            f"{file_name} has no column {', '.join(missing)}, which the mapping "
            f"{mapping.name!r} needs; the file has {_listing(present)}.",
            remedy="Correct the column names in the mapping, or leave the mapping out to have one chosen by the columns.",
        )


def _recognised_by(mapping: Mapping) -> frozenset[str]:
    return mapping.columns | mapping.signature


def _overlap(mapping: Mapping, present: frozenset[str]) -> float:
    wanted = _recognised_by(mapping)
    return len(wanted & present) / len(wanted)


def _names() -> str:
    return ", ".join(mapping.name for mapping in shipped_mappings())


def _listing(columns: frozenset[str], limit: int = 40) -> str:
    names = sorted(columns)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
