"""Tables of results, for the terminal (with rich) and for a page (as Markdown)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Grid:
    """A table. A cell may have a second line for details; the terminal shows it dimmed."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def split(self, width: int = 80) -> list[Grid]:
        """The table in parts that fit into `width` characters, for a terminal; the first column is in each part.

        >>> [part.columns for part in Grid("", ("size", "a", "b", "c"), ()).split(width=10)]
        [('size', 'a', 'b'), ('size', 'c')]
        """
        columns = zip(self.columns, *self.rows, strict=True)
        needed = [
            1 + max(len(line) for cell in cells for line in cell.split("\n")) for cells in columns
        ]  # with a space
        parts: list[list[int]] = []
        for index in range(1, len(needed)):
            if not parts or 1 + sum(needed[each] for each in (0, *parts[-1], index)) > width:
                parts.append([])
            parts[-1].append(index)
        return [
            Grid(self.title, chosen(self.columns), tuple(map(chosen, self.rows)))
            for chosen in (itemgetter(0, *part) for part in parts)
        ]

    def rich(self) -> Table:
        """The table for the terminal."""
        from rich import box
        from rich.table import Table

        table = Table(title=self.title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in self.rows:
            lines = [cell.partition("\n") for cell in row]
            table.add_row(*(f"{first}\n[dim]{second}[/]" if second else first for first, _, second in lines))
        return table

    def markdown(self) -> str:
        """The table for a page, below its title."""
        return f"**{self.title}**\n\n{self._table()}"

    def folded(self) -> str:
        """The table for a page, in a block that the reader unfolds by its title."""
        return fold(self.title, self._table())

    def _table(self) -> str:
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        cells = ([cell.replace("\n", "<br>").replace(", ", ",&nbsp;") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def fold(title: str, text: str) -> str:
    """Text for a page, in a block that the reader unfolds by its title."""
    return f'??? abstract "{title}"\n\n' + textwrap.indent(text, "    ")


def page(tables: Iterable[Grid], sentences: Iterable[str], facts: str) -> str:
    """Markdown for a page: the tables, the sentences as a list, and the facts in small print."""
    listed = "".join(f"- {sentence}\n" for sentence in sentences)
    return "\n".join((*(table.markdown() for table in tables), listed or "\n", f"<small>{facts}</small>\n"))
