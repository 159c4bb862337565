"""Settings: what is wrong with them is said all at once, by file, key and nearest name."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.profile import Profile, check_profile, differences, read_profile, write_profile
from gptcore.stages import STAGES, fingerprint

SHIPPED = sorted((Path(__file__).parents[2] / "profiles").glob("*.toml"))


def profile_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_are_sound_and_commented(path: Path) -> None:
    assert read_profile(path).name == path.stem
    bare = [
        line
        for line in path.read_text().splitlines()
        if line.strip()
        and not line.startswith("[")
        and "#" not in line
        and "description" not in line
    ]
    assert bare == []


def test_the_profiles_that_are_shipped() -> None:
    names = [path.stem for path in SHIPPED]
    assert names == ["demo", "finetune", "gpt2-medium", "gpt2-small", "smoke"]


def test_the_default_model_is_the_reference() -> None:
    model = Profile().model
    assert model.model_dump() == {
        "vocab_size": 50257,
        "context_length": 2000,
        "emb_dim": 768,
        "n_heads": 12,
        "n_layers": 12,
        "drop_rate": 0.0,
        "qkv_bias": False,
    }


def test_all_mistakes_are_listed_with_the_nearest_name(tmp_path: Path) -> None:
    path = profile_file(
        tmp_path,
        '[pretrain]\nlearning_rat = 1\nlr = "fast"\n'
        "[model]\nemb_dim = 100\nn_heads = 12\n[modle]\n",
    )
    with pytest.raises(UserError) as caught:
        read_profile(path)
    message = str(caught.value)
    assert str(path) in message
    assert "unknown setting modle; did you mean model?" in message
    assert "pretrain.lr = 'fast'" in message
    assert "unknown setting pretrain.learning_rat" in message
    assert "emb_dim 100 is not a multiple of n_heads 12" in message
    assert "n_heads = 10" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 3\n", "model"),
        ("[model]\nemb_dim = -1\n", "model.emb_dim"),
        ("[model]\ndrop_rate = nan\n", "model.drop_rate"),
        ("[model\n", "not TOML"),
        ("[pretrain]\nbatch_size = 5\nmicro_batch = 2\n", "not a multiple"),
        ("[pretrain]\nlr = 1e-4\nmin_lr = 1e-3\n", "min_lr"),
        ('[pipeline]\nstages = ["pretrain", "dream"]\n', "'tokenizer', 'pretrain'"),
        ('[pipeline]\nstages = ["pretrain", "pretrain"]\n', "listed twice"),
        ('[engine]\ndevice = "gpu"\n', "engine.device"),
        ('name = "../x"\n', "name"),
        ("[model]\nemb_dim = 1000000000001\n", "model.emb_dim = 1000000000001"),
        ("[model]\nn_heads = 1025\n", "model.n_heads"),
        ("[model]\nn_layers = 1025\n", "model.n_layers"),
        ("[model]\nemb_dim = 2062\nn_heads = 900\n", "n_heads = 2"),
        ("[model]\nemb_dim = 65521\nn_heads = 1024\n", "n_heads = 1"),
        ("[model]\nemb_dim = 12\nn_heads = 500\n", "n_heads = 12"),
        ('[engine]\ndevice = "cuda:1"\nprocesses = 2\n', "engine.device cuda:1 is one GPU"),
        ('[engine]\ndevice = "cuda:1"\nprocesses = 2\n', "engine.processes 2"),
        ("[rgpo]\nbatch_size = 60\nmicro_batch = 4\n", "not a multiple of group_size 8"),
        ("[rgpo]\ngradient_checkpointing = true\n", "lower micro_batch"),
        ("[rgpo]\nearly_stopping = 3\n", "max_kl"),
        ("[ppo]\nearly_stopping = 3\n", "max_kl"),
        ("[ppo]\nbatch_size = 64\nmicro_batch = 16\nmini_batches = 8\n", "mini_batches 8"),
    ],
)
def test_impossible_settings_are_explained(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_profile(profile_file(tmp_path, text))
    assert said in str(caught.value)


def test_missing_binary_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_profile(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_profile(tmp_path / "b.toml")
    with pytest.raises(UserError, match="cannot be read"):
        read_profile(tmp_path)


def test_overrides_take_toml_values_and_bare_words(tmp_path: Path) -> None:
    path = profile_file(tmp_path, "[pretrain]\nlr = 1e-3\n")
    profile = read_profile(
        path,
        [
            "pretrain.lr=3e-4",
            "model.qkv_bias = true",
            "engine.device=cpu",
            'pipeline.stages=["pretrain"]',
            'data.pretrain.include=["a/*"]',
        ],
    )
    assert profile.pretrain.lr == 3e-4
    assert profile.model.qkv_bias is True
    assert profile.engine.device == "cpu"
    assert profile.pipeline.stages == ("pretrain",)
    assert profile.data.pretrain.include == ("a/*",)
    assert profile.name == "mine"


@pytest.mark.parametrize("override", ["pretrain.lr", "=3", "pretrain.lrr=3", "name.lr=3", "lr=3"])
def test_bad_overrides_are_errors(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError):
        read_profile(profile_file(tmp_path, 'name = "x"\n'), [override])


def test_writing_and_reading_gives_the_same(tmp_path: Path) -> None:
    profile = check_profile(
        {"name": "x", "data": {"pretrain": {"weights": {"a/*.txt": 3}}}}, where="here"
    )
    assert check_profile(tomllib.loads(write_profile(profile)), where="there") == profile
    assert differences(profile) == {
        "name": ("unnamed", "x"),
        "data.pretrain.weights.a/*.txt": (None, 3),
    }


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=5)))
def test_any_settings_are_a_profile_or_a_user_error(data: dict[str, object]) -> None:
    try:
        check_profile({"model": data, **data}, where="here")
    except UserError:
        pass


def test_fingerprints_follow_what_matters() -> None:
    base = Profile()

    def prints(settings: dict[str, object], inputs: dict[str, object] | None = None) -> list[str]:
        changed = check_profile(settings, where="here")
        return [fingerprint(stage, changed, inputs or {}) for stage in STAGES.values()]

    same = [fingerprint(stage, base, {}) for stage in STAGES.values()]
    assert prints({"pretrain": {"micro_batch": 4}, "engine": {"threads": 3}}) == same
    assert prints({"pretrain": {"sample_interval": 7}}) == same
    learning_rate = prints({"pretrain": {"lr": 1e-4}})
    assert (learning_rate[0] == same[0], learning_rate[1] == same[1]) == (True, False)
    assert prints({"model": {"vocab_size": 999}})[0] != same[0]
    assert prints({}, {"files": ["x"]})[0] != same[0]
