"""The tokenizer: text in, ids out, the same text back, and the same ids in transformers."""

import json
import pydoc_data.topics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from gptcore.conversation import SPECIAL_TOKENS
from gptcore.errors import UserError
from gptcore.formats import TextReader
from gptengine import BPETokenizer
from gptengine.data.bulk import BulkEncoder

ENGLISH = list(pydoc_data.topics.topics.values())
FOREIGN = "Привет, мир! 你好，世界。 naïve café 12345 🎉🎉\r\n\r\n  indented\n\tif x == 10:  # ok\n"


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train([*ENGLISH[:40], FOREIGN * 5], vocab_size=1500)
    return made


# Text in which control tokens, contractions, white space and broken words are likely.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*SPECIAL_TOKENS, *FOREIGN, "the", " and", "'LL", "\n\n", "<|", "|>", "\u3000"]
        ),
        st.text(max_size=5),
    ),
    max_size=30,
).map("".join)


# --- encode and decode ---------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("".join(SPECIAL_TOKENS))
def test_text_comes_back_and_is_never_control(tokenizer: BPETokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert all(index >= len(SPECIAL_TOKENS) for index in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert b"".join(tokenizer.decode_bytes([index]) for index in ids) == text.encode()
    assert tokenizer.encode_batch([text, text]) == [ids, ids]


def test_control_tokens_are_one_id_where_they_are_allowed(tokenizer: BPETokenizer) -> None:
    assert tokenizer.encode("".join(SPECIAL_TOKENS), allow_special=True) == list(range(10))
    assert [tokenizer.id_of(token) for token in SPECIAL_TOKENS] == list(range(10))
    assert tokenizer.encode_batch(["<|pad|>"], allow_special=True) == [[tokenizer.pad_id]]
    assert len(tokenizer.encode("<|pad|>")) > 1, "and allowing it once changes nothing after"
    assert (tokenizer.eos_id, tokenizer.pad_id) == (0, 1)
    with pytest.raises(KeyError):
        tokenizer.id_of("<|nothing|>")


def test_decode_can_leave_control_tokens_out_and_shrugs_at_unknown_ids(
    tokenizer: BPETokenizer,
) -> None:
    ids = [4, *tokenizer.encode("hello"), 5, 10**6, -1]
    assert tokenizer.decode(ids) == "<|assistant|>hello<|end|>"
    assert tokenizer.decode(ids, skip_special=True) == "hello"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(10, 1499), max_size=20))
def test_decode_is_what_the_library_decodes(tokenizer: BPETokenizer, ids: list[int]) -> None:
    assert tokenizer.decode(ids) == tokenizer._tokenizer.decode(ids, skip_special_tokens=False)


def test_half_characters_stay_bytes(tokenizer: BPETokenizer) -> None:
    ids = tokenizer.encode("\U0001f9ff")
    assert len(ids) > 1
    assert tokenizer.decode_bytes(ids[:1]) == "\U0001f9ff".encode()[:1]
    assert tokenizer.decode(ids[:1]) == "\ufffd"


def test_broken_surrogates_are_replaced(tokenizer: BPETokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_digits_are_kept_apart(tokenizer: BPETokenizer) -> None:
    assert len(tokenizer.encode("20262026")) == 8


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, piece_bytes=st.integers(8, 60))
def test_piece_by_piece_gives_the_ids_of_the_whole(
    tokenizer: BPETokenizer, tmp_path_factory, text: str, piece_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("pieces", numbered=True) / "x.txt"
    path.write_bytes(text.encode())
    pieces = [piece.text.decode() for piece in TextReader(path, "", piece_bytes)]
    if any(len(piece.encode()) > piece_bytes * 3 for piece in pieces):
        return  # no safe place to cut was promised here
    whole = "".join(pieces)
    assert [index for piece in pieces for index in tokenizer.encode(piece)] == (
        tokenizer.encode(whole)
    )


def test_real_text_in_pieces_gives_the_ids_of_the_whole(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "x.txt"
    text = "".join(ENGLISH[:30]) + FOREIGN * 20
    path.write_bytes(text.encode())
    whole = tokenizer.encode(text)
    for piece_bytes in (100, 333, 5000):
        pieces = [piece.text.decode() for piece in TextReader(path, "", piece_bytes)]
        assert [index for each in tokenizer.encode_batch(pieces) for index in each] == whole


# --- train ---------------------------------------------------------------------------------------


def test_training_is_repeatable_and_takes_a_generator() -> None:
    made = []
    for texts in (iter(ENGLISH[:5]), ENGLISH[:5]):
        tokenizer = BPETokenizer()
        tokenizer.train(texts, vocab_size=400)
        made.append(tokenizer)
    assert len(made[0]) == made[0].vocab_size == 400
    assert made[0].fingerprint == made[1].fingerprint
    made[1].train(ENGLISH[5:10], vocab_size=400)
    assert made[0].fingerprint != made[1].fingerprint


def test_little_text_gives_fewer_tokens() -> None:
    tokenizer = BPETokenizer()
    tokenizer.train(["aaaa aaaa"], vocab_size=5000)
    assert 266 < tokenizer.vocab_size < 300
    assert tokenizer.decode(tokenizer.encode("zażółć")) == "zażółć"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("texts", [["x" * 3_000_000], [" " * 3_000_000 + "x"], ["ab " * 10**6]])
def test_overlong_words_and_lines_do_not_hang_it(texts: list[str]) -> None:
    start = time.monotonic()
    BPETokenizer().train(texts, vocab_size=600)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("texts", [[], [""], ["\n ", "\t"]])
def test_no_text_is_the_persons_to_mend(texts: list[str]) -> None:
    with pytest.raises(UserError):
        BPETokenizer().train(texts, vocab_size=300)


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(UserError) as error:
        BPETokenizer().train(["text"], vocab_size=265)
    assert "266" in error.value.fix
    BPETokenizer().train(["text"], vocab_size=266)


def test_one_string_is_not_taken_for_many() -> None:
    with pytest.raises(TypeError):
        BPETokenizer().train("some text")


def test_what_the_texts_raise_comes_through() -> None:
    def texts():
        yield "text"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BPETokenizer().train(texts(), vocab_size=300)


def test_untrained_it_says_so(tmp_path: Path) -> None:
    for use in (lambda: BPETokenizer().encode("x"), lambda: BPETokenizer().save(tmp_path)):
        with pytest.raises(UserError, match="not been trained"):
            use()


# --- save and load -------------------------------------------------------------------------------


def test_save_and_load(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tok")
    loaded = BPETokenizer.load(tmp_path / "tok")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(FOREIGN + "<|pad|>") == tokenizer.encode(FOREIGN + "<|pad|>")
    assert sorted(path.name for path in (tmp_path / "tok").iterdir()) == [
        "chat_template.jinja",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


AUTO = """
import json, sys
from transformers import AutoTokenizer
texts = json.load(sys.stdin)
for folder in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    print(json.dumps({
        "ids": [tokenizer(text)["input_ids"] for text in texts],
        "back": [tokenizer.decode(tokenizer(text)["input_ids"]) for text in texts],
        "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "all_special": sorted(tokenizer.all_special_ids),
        "length": len(tokenizer),
        "model_max_length": tokenizer.model_max_length,
    }))
"""


def test_transformers_gives_the_same_ids(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    # Beside a GPT-2 model too, for which transformers has a tokenizer class of its own.
    folders = [tmp_path / "alone", tmp_path / "with-model"]
    for folder in folders:
        tokenizer.save(folder, model_max_length=128)
    (folders[1] / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    texts = [FOREIGN, *ENGLISH[50:60], "Hello , world ! it 's", " leading"]
    result = subprocess.run(
        [sys.executable, "-c", AUTO, *folders],
        input=json.dumps([*texts, "<|system|>x<|/function_call|>"]),
        capture_output=True,
        text=True,
        check=True,
    )
    alone, beside = map(json.loads, result.stdout.splitlines())
    assert alone == beside
    assert alone["ids"][:-1] == [tokenizer.encode(text) for text in texts]
    assert alone["back"][:-1] == texts
    assert alone["ids"][-1] == [2, *tokenizer.encode("x"), 7]
    assert alone["special"] == [0, 0, 1]
    assert alone["all_special"] == list(range(10))
    assert alone["length"] == tokenizer.vocab_size
    assert alone["model_max_length"] == 128


def _without_merges_tokens(parts: dict) -> dict:
    parts["model"]["merges"].append(["nowhere", "found"])
    return parts


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "{}",
        lambda text: "[]",
        lambda text: text.replace("<|user|>", "<|human|>"),
        lambda text: text.replace("use_regex", "unused"),
        lambda text: json.dumps(_without_merges_tokens(json.loads(text))),
        lambda text: json.dumps({**json.loads(text), "model": {"type": "BPE", "vocab": []}}),
    ],
)
def test_a_broken_folder_is_the_persons_to_mend(
    tokenizer: BPETokenizer, tmp_path: Path, damage
) -> None:
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(UserError) as error:
        BPETokenizer.load(tmp_path)
    assert error.value.where == str(file)


def test_a_missing_folder_is_the_persons_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        BPETokenizer.load(tmp_path / "nowhere")


# --- bulk encoding -------------------------------------------------------------------------------


def flat(tokenizer: BPETokenizer, texts: list[str]) -> tuple[list[int], list[int]]:
    each = tokenizer.encode_batch(texts)
    return [index for ids in each for index in ids], [len(ids) for ids in each]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5))
def test_bulk_encoding_gives_the_same_ids(tokenizer: BPETokenizer, texts: list[str]) -> None:
    encoder = tokenizer.fast_encoder()
    ids, counts = encoder.encode([text.encode() for text in texts])
    assert encoder.fallback_reason == ""
    assert (ids.tolist(), counts.tolist()) == flat(tokenizer, texts)


def test_bulk_encoding_goes_on_when_it_starts_afresh(tokenizer: BPETokenizer) -> None:
    encoder = BulkEncoder(tokenizer._tokenizer, max_growth=-1)
    for text in ENGLISH[:10]:
        ids, _ = encoder.encode([text.encode()])
        assert ids.tolist() == tokenizer.encode(text)


REASONS = {"missing": "cannot be imported", "refused": "refuses", "differs": "other ids"}


@pytest.mark.parametrize("trouble", REASONS)
def test_without_gigatoken_it_falls_back_and_says_why(
    tokenizer: BPETokenizer, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    inner = tokenizer._tokenizer
    if trouble == "missing":
        monkeypatch.setitem(sys.modules, "gigatoken", None)
    elif trouble == "refused":
        inner = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.Digits()
    else:
        monkeypatch.setattr(
            BulkEncoder,
            "_encode_fast",
            lambda self, texts: (np.zeros(3, np.uint32), np.array([3])),
        )
    encoder = BulkEncoder(inner)
    ids, counts = encoder.encode([b"aaa", b"a"])
    assert REASONS[trouble] in encoder.fallback_reason
    assert counts.sum() == len(ids) > 0
    if trouble != "refused":
        assert (ids.tolist(), counts.tolist()) == flat(tokenizer, ["aaa", "a"])
