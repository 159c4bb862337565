"""A text file of any size, read by position: pages of lines, a level filter, a search.

A position is the byte offset of the start of a display line (`text_lines`). Nothing is indexed and
no line is counted: a page costs the bytes around it, whatever the file's size and however fast it
grows; a filter or a search reads on in slices until it has found enough, and can be called off.
Whatever the file is or does, there is a page, which says what is wrong with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gptcore.text import clean
from gptstudio.services import text_search
from gptstudio.services.text_levels import Filter, Level
from gptstudio.services.text_lines import Mode, show
from gptstudio.services.text_search import Found
from gptstudio.services.text_source import ShrunkError, Source, UnreadableError
from gptstudio.services.text_walk import CancelledError, Control, Walk

_MAGIC = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PAR1": "a Parquet table",
}
#: How often a read is begun again when the file shrinks under it.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A display line.

    Attributes:
        offset: Of its first byte in the file.
        end: Offset after its last byte, the line feed included.
        text: What it shows, harmless.
        level: What it is by its words; always empty in data.
        continued: Whether it is the next part of a line that was cut.
    """

    offset: int
    end: int
    text: str
    level: Level = ""
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive lines of a file, or of those that a filter lets through.

    Attributes:
        lines: As many as were asked for; fewer only where the file has no more.
        size: Bytes of the file.
        at_start: Whether it is known that no line comes before.
        at_end: Whether it is known that no line comes after.
        generation: Grows when the file was truncated or replaced: older offsets mean nothing.
        problem: What is wrong, and with which file; there may be lines all the same.
        cancelled: Whether it was called off; then it has no lines.
    """

    lines: tuple[Line, ...] = ()
    size: int = 0
    at_start: bool = True
    at_end: bool = True
    generation: int = 0
    problem: str = ""
    cancelled: bool = False


def _never() -> bool:
    return False


def _ignore(share: float) -> None:
    pass


class TextFile:
    """A file by name; what has that name may change between two calls. For one thread.

    Args:
        path: The file; it need not exist.
        mode: `log` shows lines as a terminal would be left with them and finds warnings and
            errors; `data` shows every byte and knows no levels.
    """

    def __init__(self, path: Path, mode: Mode = "log") -> None:
        self.path = path
        self.mode: Mode = mode
        self.generation = 0
        self._identity: tuple[int, int] | None = None
        self._head = b""
        self._size = 0
        self._walk = Walk(mode)

    def look(self) -> Page:
        """The file's size, generation and problem, without lines."""
        return self._with_source(
            lambda source: Page(
                size=source.size,
                generation=self.generation,
                problem=_notice(source, self.path),
            )
        )

    def page(
        self,
        anchor: int | None,
        height: int,
        *,
        skip: int = 0,
        level: Filter = "all",
        cancelled: Callable[[], bool] = _never,
        on_progress: Callable[[float], None] = _ignore,
    ) -> Page:
        """`height` lines around a place.

        The page is moved up or down where it would reach over an end of the file, so that it is
        full whenever the file has lines enough.

        Args:
            anchor: An offset; its display line, or the next one that the filter lets through, is
                the page's first. None: the page is the file's last.
            height: Lines.
            skip: Lines by which the page begins after the anchor; before it where negative.
            level: Which lines count.
            cancelled: Asked before every slice that is read.
            on_progress: Told the share of the file that a filter has read, 0 to 1.
        """
        wanted: Filter = "all" if self.mode == "data" else level
        control = Control(cancelled, on_progress)
        return self._with_source(
            lambda source: self._page(source, anchor, height, skip, wanted, control)
        )

    def search(
        self,
        pattern: str,
        start: int,
        *,
        forwards: bool = True,
        level: Filter = "all",
        cancelled: Callable[[], bool] = _never,
        on_progress: Callable[[float], None] = _ignore,
    ) -> Found:
        """The next line that shows `pattern`; the search wraps around at the file's end.

        Args:
            pattern: Plain text; a pattern without a capital matches in any case.
            start: Forwards, lines that start after this offset come first (-1: all of them);
                backwards, lines before the display line that holds it.
            forwards: Direction.
            level: Only lines that this filter lets through.
            cancelled: Asked every `text_source.LARGEST_SLICE` bytes.
            on_progress: Told the share of the file that has been read, 0 to 1.
        """
        wanted: Filter = "all" if self.mode == "data" else level
        for _ in range(ATTEMPTS):
            try:
                with Source(self.path) as source:
                    return text_search.find(
                        source,
                        pattern,
                        start,
                        forwards=forwards,
                        mode=self.mode,
                        level=wanted,
                        cancelled=cancelled,
                        on_progress=on_progress,
                    )
            except UnreadableError as error:
                return Found(problem=str(error))
            except ShrunkError:
                continue
        return Found(problem=self._unstable())

    def _with_source(self, read: Callable[[Source], Page]) -> Page:
        for _ in range(ATTEMPTS):
            try:
                with Source(self.path) as source:
                    self._recognise(source)
                    return read(source)
            except UnreadableError as error:
                return Page(problem=str(error), generation=self.generation)
            except CancelledError:
                return Page(cancelled=True, size=self._size, generation=self.generation)
            except ShrunkError:
                continue
        return Page(problem=self._unstable(), generation=self.generation)

    def _unstable(self) -> str:
        return f"the file shrinks while it is read: {clean(str(self.path))}"

    def _recognise(self, source: Source) -> None:
        """Begin a new generation where this is not the file of the last time, only longer."""
        known = self._identity in (None, source.identity)
        if not known or source.size < self._size or not source.head.startswith(self._head):
            self.generation += 1
            self._walk.forget()
        self._identity, self._size, self._head = source.identity, source.size, source.head

    def _page(
        self,
        source: Source,
        anchor: int | None,
        height: int,
        skip: int,
        level: Filter,
        control: Control,
    ) -> Page:
        place = source.size if anchor is None else source.start_of(max(0, anchor))
        above = self._walk.lines(source, range(place), forwards=False, level=level, control=control)
        ahead = self._walk.lines(
            source, range(place, source.size), forwards=True, level=level, control=control
        )
        before = list(islice(above, max(0, -skip)))  # the nearest first
        top_known = len(before) < -skip
        wanted = max(0, height + max(skip, -len(before)))
        after = list(islice(ahead, wanted))
        missing = max(0, height - len(before) - len(after))
        before += (more := list(islice(above, missing)))
        top_known |= len(more) < missing
        lines = before[::-1] + after
        first = max(0, min(skip, len(lines) - height))
        chosen = lines[first : first + height]
        top_known &= first == 0
        bottom_known = len(after) < wanted and first + height >= len(lines)
        return Page(
            tuple(
                Line(line.offset, line.end, show(line.raw, self.mode), line.level, line.continued)
                for line in chosen
            ),
            source.size,
            at_start=top_known or not chosen or chosen[0].offset == 0,
            at_end=bottom_known or not chosen or anchor is None or chosen[-1].end == source.size,
            generation=self.generation,
            problem=_notice(source, self.path),
        )


def _notice(source: Source, path: Path) -> str:
    """What a person should know about a file that is not plain UTF-8."""
    for magic, what in _MAGIC.items():
        if source.head.startswith(magic):
            return f"this is {what}, shown byte by byte: {clean(str(path))}"
    return ""
