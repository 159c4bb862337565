"""A trained tokenizer on the person's side, to show and count tokens.

For the data worker's process and for commands: the interface's process never loads the library,
which is why it is imported here, where a tokenizer is opened, and nowhere else in the studio.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.conversation import SPECIAL_TOKENS
from gptcore.errors import UserError
from gptcore.inputs import results_of
from gptcore.lineage import find_parent
from gptcore.stages import STAGES
from gptcore.text_tokenizer import text_only
from gptcore.workspace import Workspace

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE_NAME = "tokenizer.json"


class TokenEncoder:
    """Encodes as the engine's tokenizer does (a `gptcore.encoding.TextEncoder`).

    Text is never control: what spells a control token is encoded as the letters it is spelled with.

    Args:
        folder: Of a tokenizer or model, with its `tokenizer.json`.

    Raises:
        UserError: The library is not installed, there is no such file, or it is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tokenizer, self._plain = _open(folder / FILE_NAME)
        # A model from elsewhere gets those that it lacks when it is fine-tuned, so here too.
        self._tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
        ids = {token: self._tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        self._controls = {token: index for token, index in ids.items() if index is not None}

    @property
    def name(self) -> str:
        """What the tokenizer is called in its workspace."""
        return self.folder.name

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; half a surrogate pair becomes U+FFFD, as in the engine."""
        sound = [_sound(text) for text in texts]
        encodings = self._plain.encode_batch_fast(sound, add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def id_of(self, token: str) -> int:
        """The id of a control token."""
        return self._controls[token]

    def text_of(self, index: int) -> str:
        """What a token stands for; bytes that are no whole character by their numbers."""
        token = self._tokenizer.id_to_token(index)
        if token is None or token in self._controls:
            return token or f"<{index}>"
        raw = [self._byte_of.get(letter, -1) for letter in token]
        if -1 in raw:  # of another kind than byte-level: as it is spelled in its vocabulary
            return str(token)
        return bytes(raw).decode("utf-8", "backslashreplace")

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """The byte behind each letter of a byte-level vocabulary, as GPT-2 wrote them."""
        seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        unseen = [byte for byte in range(256) if byte not in seen]
        return {chr(byte): byte for byte in seen} | {
            chr(0x100 + number): byte for number, byte in enumerate(unseen)
        }


def find_tokenizer(workspace: Workspace, pipeline: str, named: str = "") -> Path:
    """The folder of the tokenizer to count with.

    Args:
        workspace: Where to look.
        pipeline: Name of the profile; its newest tokenizer is taken where none is named.
        named: A folder, or the name of a tokenizer or model.

    Raises:
        UserError: There is none.
    """
    if named:
        folder = Path(named).expanduser()
        return folder if (folder / FILE_NAME).is_file() else find_parent(workspace, named)
    made = results_of(workspace, STAGES["tokenizer"], pipeline)
    found = next((folder for folder, _ in made if (folder / FILE_NAME).is_file()), None)
    if found is None:
        raise UserError(
            f"the pipeline {pipeline} has no tokenizer yet",
            where=str(workspace.tokenizers),
            fix="gptstudio run --stage tokenizer makes one, or name one with --tokenizer",
        )
    return found


def _open(file: Path) -> "tuple[Tokenizer, Tokenizer]":
    """The whole tokenizer, and the one for spans of text."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(
            "counting tokens needs the library tokenizers, which is not installed",
            where=str(file),
            fix="pip install 'gptstudio[engine]'",
        ) from None
    try:
        whole = Tokenizer.from_file(str(file))
        return whole, Tokenizer.from_str(text_only(whole.to_str()))
    except Exception as error:  # the library raises nothing more exact
        raise UserError(
            f"the tokenizer cannot be read: {error}",
            where=str(file),
            fix="name another one with --tokenizer",
        ) from None


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
