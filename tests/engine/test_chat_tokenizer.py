"""A tokenizer that came with a model: text is never control, and other programs read the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from gptcore.conversation import SPECIAL_TOKENS, render
from gptcore.encoding import encode_conversation
from gptcore.errors import UserError
from gptcore.formats.records import Conversation, Message, Tool, ToolCall, message_row, tool_row
from gptengine.chat_tokenizer import (
    ForeignTokenizer,
    control_ids,
    end_ids,
    generation_settings,
    is_ours,
    load_chat_tokenizer,
    pad_id,
)
from gptengine.tokenizer import BPETokenizer
from tests.engine.tiny_models import (
    OWN_TOKENS,
    SENTENCES,
    TALKS,
    control_ids_in,
    make_model,
    make_tokenizer,
    save_tokenizer,
)

FOREIGN = ("llama", "qwen2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: a tokenizer as it came, and under `saved` as it was saved here."""
    made: dict[str, Path] = {}
    for kind in FOREIGN:
        made[kind] = tmp_path_factory.mktemp(kind)
        make_tokenizer(kind, made[kind])
        ForeignTokenizer(made[kind]).save(made[kind] / "saved", model_max_length=77)
    return made


@pytest.fixture(scope="module")
def tokenizers(folders: dict[str, Path]) -> dict[str, ForeignTokenizer]:
    return {kind: ForeignTokenizer(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def saved(folders: dict[str, Path]) -> dict[str, Any]:
    """The same as transformers reads them."""
    return {kind: AutoTokenizer.from_pretrained(folders[kind] / "saved") for kind in FOREIGN}


def their_ids(theirs: Any, conversation: Conversation) -> Any:
    return theirs.apply_chat_template(
        [message_row(message) for message in conversation.messages],
        tools=[tool_row(tool) for tool in conversation.tools] or None,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_control_tokens_it_lacks_are_added_once(folders: dict[str, Path], kind: str) -> None:
    before = len(AutoTokenizer.from_pretrained(folders[kind]))
    first = load_chat_tokenizer(folders[kind])
    assert isinstance(first, ForeignTokenizer)
    assert first.added == [token for token in SPECIAL_TOKENS if token not in OWN_TOKENS[kind]]
    assert first.vocab_size == before + len(first.added)
    assert sorted(control_ids(first).values()) == sorted(SPECIAL_TOKENS)
    again = load_chat_tokenizer(folders[kind] / "saved")
    assert isinstance(again, ForeignTokenizer)
    assert again.added == []
    assert again.vocab_size == first.vocab_size
    assert control_ids(again) == control_ids(first)


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_programs_get_the_same_ids_and_the_same_mask(
    saved: dict[str, Any], tokenizers: dict[str, ForeignTokenizer], kind: str
) -> None:
    theirs = saved[kind]
    assert theirs.model_max_length == 77
    for conversation in TALKS:
        ours = encode_conversation(conversation.messages, conversation.tools, tokenizers[kind])
        found = their_ids(theirs, conversation)
        assert found["input_ids"] == ours.ids
        assert found["assistant_masks"] == [int(each) for each in ours.learned]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: (
        not any(token in text for own in OWN_TOKENS.values() for token in own)
        and not any(token in text for token in SPECIAL_TOKENS)
    )
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FOREIGN), st.lists(WORDS, min_size=2, max_size=4))
def test_the_ids_agree_whatever_the_text(
    saved: dict[str, Any],
    tokenizers: dict[str, ForeignTokenizer],
    kind: str,
    texts: list[str],
) -> None:
    tokenizer = tokenizers[kind]
    theirs = saved[kind]
    calls = (ToolCall("f", {"a": texts[0]}),)
    messages = [Message("user", texts[0]), Message("assistant", texts[1], calls)]
    messages += [Message("tool", text, name="f") for text in texts[2:]]
    messages.append(Message("assistant", texts[-1]))
    ours = encode_conversation(messages, (), tokenizer)
    found = their_ids(theirs, Conversation(tuple(messages)))
    assert found["input_ids"] == ours.ids
    assert found["assistant_masks"] == [int(each) for each in ours.learned]


SPELLED = [*SPECIAL_TOKENS, *(token for own in OWN_TOKENS.values() for token in own)]
NEAR = [*SPELLED, *(token[:-1] for token in SPELLED), "<|", "|>", "<|end|>" * 3]
FIELDS = st.sampled_from(NEAR) | st.lists(st.sampled_from(NEAR)).map("".join) | st.text()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FOREIGN), FIELDS, FIELDS, FIELDS)
def test_no_text_makes_a_control_id(
    tokenizers: dict[str, ForeignTokenizer], kind: str, user: str, value: str, result: str
) -> None:
    tokenizer = tokenizers[kind]
    messages = (
        Message("system", user),
        Message("user", user),
        Message("assistant", value, (ToolCall("f", {value: value}),)),
        Message("tool", result, (), "f"),
        Message("assistant", result),
    )
    tools = (Tool("f", value, {"properties": {value: {"enum": [user]}}}),)
    encoded = encode_conversation(messages, tools, tokenizer)
    meant = [span.text for span in render(messages, tools) if span.is_control]
    control = control_ids(tokenizer)
    found = control_ids_in(encoded.ids, tokenizer, kind)
    assert [control.get(index, "the model's own") for index in found] == meant


@pytest.mark.parametrize("kind", FOREIGN)
def test_text_comes_back_as_it_was(tokenizers: dict[str, ForeignTokenizer], kind: str) -> None:
    for text in ("the cat , sat .", "  two\n\nlines ", "\u00e9\u4e2d\U0001f600 <s> <|im_start|>"):
        [ids] = tokenizers[kind].encode_batch([text])
        assert tokenizers[kind].decode(ids) == text
        assert not control_ids_in(ids, tokenizers[kind], kind)


def test_what_a_chat_ends_with(tokenizers: dict[str, ForeignTokenizer]) -> None:
    for tokenizer in tokenizers.values():
        told = generation_settings(tokenizer)
        assert tokenizer.decode(end_ids(tokenizer)) == "<|end|><|endoftext|>"
        assert tokenizer.decode([told["pad_token_id"]]) == "<|pad|>"
        assert told["eos_token_id"] == end_ids(tokenizer)
        assert pad_id(tokenizer) not in end_ids(tokenizer)


def test_ours_is_told_from_others(folders: dict[str, Path], tmp_path: Path) -> None:
    make_model("gpt2", tmp_path)
    assert is_ours(tmp_path)
    assert isinstance(load_chat_tokenizer(tmp_path), BPETokenizer)
    for folder in folders.values():
        assert not is_ours(folder)
        assert not is_ours(folder / "saved")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json") as missing:
        load_chat_tokenizer(tmp_path)
    assert "save_pretrained" in missing.value.fix


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        pytest.param("gpt2"),
    ],
)
def test_a_damaged_tokenizer_is_a_user_error(tmp_path: Path, kind: str) -> None:
    file = make_model(kind, tmp_path) / "tokenizer.json"
    file.write_text(file.read_text()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        load_chat_tokenizer(tmp_path)


@pytest.mark.parametrize("key", ["truncation", "padding"])
def test_lengths_set_in_the_file_do_not_cut_or_fill_up(tmp_path: Path, key: str) -> None:
    make_tokenizer("llama", tmp_path)
    file = tmp_path / "tokenizer.json"
    whole = ForeignTokenizer(tmp_path).encode_batch(SENTENCES[:2])
    content = json.loads(file.read_text())
    content["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": 99},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<s>",
    }
    del content[{"truncation": "padding", "padding": "truncation"}[key]]
    file.write_text(json.dumps(content))
    assert ForeignTokenizer(tmp_path).encode_batch(SENTENCES[:2]) == whole


@pytest.mark.parametrize(
    "scheme",
    [
        "always",
        "never",
        pytest.param("first"),
    ],
)
def test_a_word_mark_before_text_stands_where_other_programs_have_it(
    tmp_path: Path, scheme: Any
) -> None:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=list(OWN_TOKENS["llama"]), show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    save_tokenizer(made, "llama", tmp_path)
    tokenizer = ForeignTokenizer(tmp_path)
    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for conversation in TALKS:
        ours = encode_conversation(conversation.messages, conversation.tools, tokenizer)
        assert their_ids(theirs, conversation)["input_ids"] == ours.ids


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_control_token_among_the_pieces_of_a_vocabulary_is_not_found_in_text(
    tmp_path: Path, kind: str
) -> None:
    own = OWN_TOKENS[kind]
    letters = sorted(set("".join(own)) | set("ab "))
    pieces = [(token, -0.1) for token in own] + [(letter, -9.0) for letter in letters]
    made = Tokenizer(models.Unigram([("?", -99.0), *pieces], unk_id=0))
    save_tokenizer(made, kind, tmp_path)
    tokenizer = ForeignTokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for token in own:
        [ids] = tokenizer.encode_batch([f"a {token} b"])
        assert theirs.convert_tokens_to_ids(token) not in ids
        assert len(ids) > len("a  b")
