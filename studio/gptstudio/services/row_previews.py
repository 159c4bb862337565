"""What the data worker says about single rows and about all rows of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gptcore.errors import UserError
from gptcore.formats.checks import CallChecker
from gptcore.formats.rows import Mark
from gptcore.text import steady
from gptcore.workspace import Workspace
from gptstudio.data_view import stats_lines
from gptstudio.services.data_files import DataFile
from gptstudio.services.data_protocol import CountStats, ReadRow, RowPreview
from gptstudio.services.data_row import DataRow, as_data_row
from gptstudio.services.data_stats import StatsCounter
from gptstudio.services.row_access import RowAccess, stamp
from gptstudio.services.row_lines import Line
from gptstudio.services.row_view import Encoded, encode_row, fit_words, view_lines
from gptstudio.services.token_encoder import FILE_NAME, TokenEncoder, find_tokenizer

#: Characters and lines of a row that are sent; `gptstudio data show` has them all.
MOST_CHARACTERS, MOST_LINES = 40_000, 2_000
#: Rows of more bytes are not encoded only to be looked at.
MOST_ENCODED = 1 << 20

#: Told how far it is; what it raises ends the work.
OnBytes = Callable[[int, int], None]


class RowPreviews:
    """Reads rows, of one file at a time, and remembers where it is.

    Args:
        workspace: Where tokenizers are.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path = Path()
        self._access: RowAccess | None = None
        self._calls = CallChecker()
        self._marks: dict[Path, tuple[tuple[int, int, int], list[Mark]]] = {}
        self._encoder: tuple[tuple[object, ...], TokenEncoder] | None = None

    def learn(self, path: Path, seen: tuple[int, int, int], marks: list[Mark]) -> None:
        """Keep marks of a file that has been read as a whole.

        Args:
            path: The file.
            seen: Its stamp when it was read.
            marks: Found then.
        """
        self._marks[path] = (seen, marks)
        if self._access is not None and self._path == path and self._access.stamp == seen:
            self._access.learn(marks)

    def read(self, wish: ReadRow, path: Path, on_bytes: OnBytes) -> RowPreview:
        """A row as it is shown.

        Raises:
            UserError: There is no such row, or the file cannot be read.
            OSError: The file cannot be looked at.
        """
        access = self._open(path)
        number = wish.row
        if wish.words:
            match = access.search(wish.words, number, on_bytes, forwards=wish.forwards)
            if match is None:
                raise UserError(f"no row holds {wish.words!r}")
            number = match
        found = access.find(number, on_bytes)
        number = number or access.count or 0
        if found is None:
            count = access.count or 0
            raise UserError(
                f"there is no row {number:,}: the last is {count:,}" if count else "holds no rows"
            )
        row = as_data_row(number, found, self._calls)
        size = getattr(found, "size", 0)
        encoded, words = self._encoded(row, size, wish.pipeline, wish.context)
        lines, left_out = _bounded(view_lines(row, wish.view, encoded))
        return RowPreview(
            row=number,
            line=row.line,
            what=f"{row.record.form}, written as {row.dialect}" if row.record else "",
            in_tokens=words,
            is_odd=encoded is not None and bool(encoded.fit.problem or encoded.fit.num_cut),
            lines=tuple(lines),
            is_whole=not left_out,
        )

    def stats(self, wish: CountStats, path: Path, on_bytes: OnBytes) -> tuple[str, ...]:
        """Numbers about a file, in lines.

        Raises:
            OSError: The file cannot be looked at.
        """
        encoder, lacking = self._tokenizer(wish.pipeline)
        counter = StatsCounter(encoder, wish.context)
        size = path.stat().st_size
        counter.read(DataFile(path, wish.name, "data", size), lambda done: on_bytes(done, size))
        return tuple(stats_lines(counter.result(), lacking))

    def _open(self, path: Path) -> RowAccess:
        now = stamp(path)
        if self._access is None or self._path != path or self._access.stamp != now:
            self._path, self._access = path, RowAccess(path)
            seen, marks = self._marks.get(path, (now, []))
            if seen == now:
                self._access.learn(marks)
        return self._access

    def _encoded(
        self, row: DataRow, size: int, pipeline: str, context: int | None
    ) -> tuple[Encoded | None, str]:
        """A row in tokens where that can be, and words about it."""
        if row.record is None:
            return None, ""
        if size > MOST_ENCODED:
            return None, "too long to be counted in tokens here; see gptstudio data show"
        encoder, lacking = self._tokenizer(pipeline)
        encoded = encode_row(row, encoder, context)
        if encoded is None:
            return None, f"not counted in tokens: {steady(lacking)}"
        return encoded, fit_words(encoded.fit, context, encoded.encoder.name)

    def _tokenizer(self, pipeline: str) -> tuple[TokenEncoder | None, str]:
        """The newest one of a pipeline, opened once; or why there is none."""
        try:
            folder = find_tokenizer(self._workspace, pipeline)
            key = (folder, *stamp(folder / FILE_NAME))
            if self._encoder is None or self._encoder[0] != key:
                self._encoder = (key, TokenEncoder(folder))
        except UserError as error:
            return None, error.what  # the remedy is for commands
        return self._encoder[1], ""


def _bounded(lines: Iterator[Line]) -> tuple[list[Line], bool]:
    """As many lines as are sent, and whether there are more."""
    taken: list[Line] = []
    room = MOST_CHARACTERS
    for line in lines:
        size = sum(len(text) for text, _ in line.parts)
        if len(taken) >= MOST_LINES:
            return taken, True
        if size > room:
            taken.append(_cut(line, room))
            return taken, True
        room -= size
        taken.append(line)
    return taken, False


def _cut(line: Line, room: int) -> Line:
    parts = []
    for text, paint in line.parts:
        parts.append((text[:room], paint))
        room = max(0, room - len(text))
    return Line(tuple(parts), line.mark)
