"""Which tokenizer and context length data is looked at with, where nobody has named them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.workspace import Workspace

if TYPE_CHECKING:
    from gptcore.profile import Profile
    from gptstudio.services.token_encoder import TokenEncoder


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What rows are encoded with and held against.

    Args:
        encoder: The tokenizer; None: there is none.
        context: Tokens that fit; None: nobody says how many.
        lacking: Why there is no tokenizer, in words, and what helps; empty: there is one.
    """

    encoder: "TokenEncoder | None"
    context: int | None = None
    lacking: str = ""


def choose_tokens(
    workspace: Workspace, profile: str = "", tokenizer: str = "", context: int | None = None
) -> TokenChoice:
    """The tokenizer of a profile's pipeline, and the context length of its stages.

    Args:
        workspace: Where to look.
        profile: Name or path; empty: the one of the newest run, else the first choice.
        tokenizer: A folder, or the name of a tokenizer or model; empty: the pipeline's newest.
        context: Tokens that fit; None: what the profile says.

    Raises:
        UserError: What was named is not there or broken.
    """
    from gptstudio.services.token_encoder import TokenEncoder, find_tokenizer

    settings, why = _profile(workspace, profile)
    if settings is not None:
        context = context or context_of(settings)
    pipeline = settings.name if settings is not None else ""
    try:
        if not tokenizer and settings is None:
            return TokenChoice(None, context, why)
        encoder = TokenEncoder(find_tokenizer(workspace, pipeline, tokenizer))
    except UserError as error:
        if tokenizer:
            raise
        return TokenChoice(None, context, in_a_line(error))
    return TokenChoice(encoder, context)


def context_of(profile: "Profile") -> int:
    """Tokens of the longest conversation that every stage of a profile takes whole."""
    from gptcore.run_memory import tunings

    asked = (table.context_length for table in tunings(profile, profile.pipeline.stages).values())
    return min(filter(None, asked), default=profile.model.context_length)


def in_a_line(error: UserError) -> str:
    """What is wrong and what helps."""
    return f"{error.what}; {error.fix}" if error.fix else error.what


def _profile(workspace: Workspace, named: str) -> "tuple[Profile | None, str]":
    """The profile, or why there is none where nobody named it."""
    from gptcore.profile import read_profile
    from gptstudio.catalog import find_profile
    from gptstudio.services.profiles import likeliest

    try:
        return read_profile(find_profile(workspace, named or likeliest(workspace))), ""
    except UserError as error:
        if named:
            raise
        return None, in_a_line(error)
