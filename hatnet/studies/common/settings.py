"""Checks that the settings of several studies share."""

from collections.abc import Collection, Sequence

from hatnet.checks import require_whole
from hatnet.config import nearest


def require_whole_numbers(settings: object, **limits: tuple[int, int]) -> None:
    """Check that fields of `settings` are whole numbers within their limits, both included.

    Args:
        settings: a dataclass; a field may also be a tuple of numbers, or None where it is not given.
        limits: the smallest and the largest allowed value of each field.

    Raises:
        ValueError: naming the first field outside its limits.
    """
    for name, (low, high) in limits.items():
        value = getattr(settings, name)
        for entry in value if isinstance(value, tuple) else () if value is None else (value,):
            require_whole(name, entry, low, high)


def require_known(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    """Check that `names` holds at least one of the known names, and none twice.

    Args:
        kind: the kind of thing that is named, in the singular, such as "module".
        names: the names to check.
        known: all names that exist.

    Raises:
        ValueError: for an unknown name, with the nearest one; for an empty list; for a name that comes twice.

    >>> require_known("module", ["hmhsa"], ["mhsa", "h-mhsa"])
    Traceback (most recent call last):
    ValueError: unknown module 'hmhsa', did you mean 'h-mhsa'?; known: mhsa, h-mhsa
    """
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{kind}s={tuple(names)} must hold at least one of {', '.join(known)}, and none twice")
