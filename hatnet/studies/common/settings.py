"""Checks that the settings of several studies share."""

from collections.abc import Collection, Sequence

from hatnet.checks import require_whole
from hatnet.config import nearest


def require_whole_numbers(settings: object, **limits: tuple[int, int]) -> None:
    """Raise a ValueError unless each field is a whole number within its limits, a tuple of such numbers, or None."""
    for name, (low, high) in limits.items():
        value = getattr(settings, name)
        for entry in value if isinstance(value, tuple) else () if value is None else (value,):
            require_whole(name, entry, low, high)


def require_known(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    """Raise a ValueError unless `names` holds at least one of the known names of a `kind`, and none twice.

    >>> require_known("module", ["hmhsa"], ["mhsa", "h-mhsa"])
    Traceback (most recent call last):
    ValueError: unknown module 'hmhsa', did you mean 'h-mhsa'?; known: mhsa, h-mhsa
    """
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{kind}s={tuple(names)} must hold at least one of {', '.join(known)}, and none twice")
