"""The agreement of PyTorch with NumPy as HTML: the verdict, the worst intermediate of every block, and all of them."""

from collections.abc import Iterable, Sequence
from html import escape

from hatnet.equivalence import Agreement, by_block, first_difference, worst
from hatnet.trace import Place

WORDS = {
    "stem": "output of the stem",
    "downsampled": "map after downsampling",
    "attention.local_weights": "local attention weights (Eq. 2, 7)",
    "attention.local": "A1, local attention + X, normalised (Eq. 8, 9)",
    "attention.merged": "merged tokens (Eq. 10)",
    "attention.global_weights": "global attention weights (Eq. 2, 12)",
    "attention.global": "A2, global attention (Eq. 13)",
    "attention.weights": "attention weights (Eq. 2)",
    "attended": "attention + X (Eq. 14, 3)",
    "output": "output",
    "logits": "logits",
}


def verdict(agreements: Sequence[Agreement], tolerance: float) -> str:
    """A paragraph: green if all intermediates agree; else red, with the place where the difference starts."""
    count, largest, first = len(agreements), worst(agreements), first_difference(agreements, tolerance)
    most = f"{_unbroken(scientific(largest.error))}, at <code>{escape(largest.name)}</code>"
    limit = _unbroken(f"{tolerance:g}")
    if first is None:
        return (
            f'<p class="verdict good"><strong>{count} intermediates agree.</strong> '
            f"The largest relative difference is {most}. The limit is {limit}.</p>"
        )
    beyond = sum(exceeds(each, tolerance) for each in agreements)
    return (
        f'<p class="verdict bad" role="alert"><strong>{beyond} of {count} intermediates do not agree</strong> '
        f"within the limit of {limit}. The first, in the order of computation, is <code>{escape(first.name)}</code> "
        f"with {_unbroken(scientific(first.error))}; the largest relative difference is {most}.</p>"
    )


def agreement_tables(agreements: Sequence[Agreement], tolerance: float) -> str:
    """One row per block with its worst intermediate, and below it, folded, all intermediates."""
    blocks = [
        [_or_dash(place.stage), _or_dash(place.block), most, _words(most), times(most.shape)]
        for place, members in by_block(agreements)
        for most in [worst(members)]
    ]
    every = [[f"<code>{escape(each.name)}</code>", each, _words(each), times(each.shape)] for each in agreements]
    short = ("Stage", "Block", "Difference", "Worst intermediate", "Shape")
    long = ("Name in the trace", "Difference", "Meaning", "Shape")
    return (
        html_table("Worst intermediate by block", short, _rows(blocks, tolerance))
        + f"\n<details><summary>All {len(agreements)} intermediates</summary>"
        + html_table("All intermediates", long, _rows(every, tolerance))
        + "</details>"
    )


def exceeds(agreement: Agreement, tolerance: float) -> bool:
    """True if the two implementations differ by more than `tolerance`, or by NaN."""
    return not agreement.error <= tolerance


def _words(agreement: Agreement) -> str:
    name = Place.parse(agreement.name).name
    return WORDS.get(name, name)


def scientific(number: float) -> str:
    """A difference with two digits, such as 3.1e-15."""
    return f"{number:.1e}" if number else "0"


def times(sizes: Iterable[int]) -> str:
    """Sizes as people write them, such as 56 × 56 × 48."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes))


def html_table(label: str, head: Iterable[str], rows: Iterable[str], kind: str = "") -> str:
    """A table with an accessible name, in a box that scrolls sideways; `rows`, the contents of each <tr>, are HTML."""
    columns = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">\n'
        f'<table class="{kind}"><thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _rows(rows: Iterable[Iterable[object]], tolerance: float) -> list[str]:
    return ["".join(_cell(value, tolerance) for value in row) for row in rows]


def _cell(value: object, tolerance: float) -> str:
    if not isinstance(value, Agreement):
        return f"<td>{value}</td>"
    if exceeds(value, tolerance):
        return f'<td class="bad">{scientific(value.error)}, over the limit</td>'
    return f"<td>{scientific(value.error)}</td>"


def _or_dash(number: int | None) -> str:
    return "\N{EN DASH}" if number is None else str(number)


def _unbroken(number: str) -> str:
    return f'<span class="unbroken">{number}</span>'
