from collections.abc import Callable, Mapping
from typing import Any

def open_short_way(is_open: bool) -> None: ...

class Gate:
    face: Callable[..., Any]
    @property
    def original(self) -> Callable[..., Any]: ...
    def __init__(
        self,
        face: Callable[..., Any],
        original: Callable[..., Any],
        fewest: int,
        most: int,
        harmless: frozenset[str],
    ) -> None: ...
    def __call__(self, /, *arguments: Any, **options: Any) -> Any: ...
    def look(self, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any: ...
