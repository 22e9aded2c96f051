"""One table of a mapping file, read key by key, with errors that name the place."""

from collections.abc import Collection
from typing import Any, NoReturn, TypeVar

from scoring.ingest.errors import MappingError

_REQUIRED: Any = object()
_Choice = TypeVar("_Choice", bound=str)


class Section:
    """Hands out the values of one table and remembers which keys were read."""

    def __init__(self, table: dict[str, Any], file_name: str, path: str) -> None:
        self._table = table
        self._file_name = file_name
        self._path = path
        self._read: set[str] = set()

    def keys(self) -> set[str]:
        return set(self._table)

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise `MappingError` about `key` (the table itself where empty)."""
        place = ".".join(part for part in (self._path, key) if part)
        raise MappingError(f"{self._file_name}: {place} {problem}.", remedy="Correct the mapping file.")

    def value(self, key: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
        """The value of `key`, of type `kind`; `default` where the key is absent."""
        self._read.add(key)
        if key not in self._table:
            if default is _REQUIRED:
                self.fail(key, "is missing")
            return default
        value = self._table[key]
        # A bool is an int in Python, but never where a mapping asks for a number.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, f"has the wrong type ({type(value).__name__})")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self.value(key, str, default)
        if value == "" and default != "":
            self.fail(key, "is empty")
        return value

    def choice(self, key: str, allowed: Collection[_Choice], default: Any = _REQUIRED) -> _Choice:
        value = self.text(key, default)
        if value not in allowed:
            self.fail(key, f"is {value!r}; allowed: {', '.join(allowed)}")
        return value

    def table(self, key: str, *, required: bool = True) -> "Section | None":
        """The sub-table `key`; None where it is absent and not required."""
        value = self.value(key, dict, _REQUIRED if required else None)
        if value is None:
            return None
        path = f"{self._path}.{key}" if self._path else key
        return Section(value, self._file_name, path)

    def finish(self) -> None:
        """Refuse keys that nothing read: they are most likely misspelt."""
        for key in sorted(self.keys() - self._read):
            self.fail(key, "is not known")
