"""The settings of a pipeline: TOML in, frozen and checked objects out.

The tables are in `gptcore.settings`. pydantic reports all mistakes at once, and this module turns
them into one message with file, key and nearest name.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator

from gptcore.errors import UserError
from gptcore.rl_settings import OrpoSettings, PpoSettings, RewardModelSettings, RgpoSettings
from gptcore.settings import (
    DataSettings,
    EngineSettings,
    EvalSettings,
    FinetuneSettings,
    ModelSettings,
    PipelineSettings,
    PretrainSettings,
    Section,
    TokenizerSettings,
)


class Profile(Section):
    """All settings of one pipeline."""

    name: str = Field(
        "unnamed", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the pipeline."
    )
    description: str = Field("", description="What the profile is for, in a sentence.")
    pipeline: PipelineSettings = PipelineSettings()
    data: DataSettings = DataSettings()
    engine: EngineSettings = EngineSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    reward: RewardModelSettings = RewardModelSettings()
    ppo: PpoSettings = PpoSettings()
    orpo: OrpoSettings = OrpoSettings()
    rgpo: RgpoSettings = RgpoSettings()
    eval: EvalSettings = EvalSettings()

    @model_validator(mode="after")
    def _check(self) -> "Profile":
        if ":" in self.engine.device and self.engine.processes > 1:
            raise ValueError(
                f"engine.device {self.engine.device} is one GPU, and engine.processes"
                f" {self.engine.processes} want one each; set engine.device = cuda, or"
                " engine.processes = 1"
            )
        share = self.pretrain.micro_batch * self.engine.processes
        if self.pretrain.batch_size % share:
            raise ValueError(
                f"pretrain.batch_size {self.pretrain.batch_size} is not a multiple of"
                f" pretrain.micro_batch {self.pretrain.micro_batch} x engine.processes"
                f" {self.engine.processes}"
            )
        return self


def read_profile(path: Path, overrides: Iterable[str] = ()) -> Profile:
    """Read, override and check a profile.

    Args:
        path: A TOML file; the profile is called after it where it does not say a name.
        overrides: Settings of the form ``section.key=value``, the value in TOML.

    Raises:
        UserError: The file cannot be read, or one or more settings are wrong; all are listed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("the profile does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the profile cannot be read: {error}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the profile is not TOML: {error}", where=str(path)) from error
    data.setdefault("name", path.stem)
    for override in overrides:
        _apply(data, override)
    return check_profile(data, where=str(path))


def check_profile(data: Mapping[str, Any], *, where: str) -> Profile:
    """Turn plain settings into a profile.

    Raises:
        UserError: One or more settings are wrong; all are listed.
    """
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        mistakes = [_explain(mistake) for mistake in error.errors()]
        what = mistakes[0] if len(mistakes) == 1 else "\n".join(["wrong settings:", *mistakes])
        raise UserError(
            what, where=where, fix="gptstudio profiles show lists every setting, its unit, bounds"
        ) from None


def write_profile(profile: Profile) -> str:
    """The profile as TOML, every setting spelled out."""
    return tomli_w.dumps(profile.model_dump(mode="json", exclude_none=True))


def differences(profile: Profile, other: Profile | None = None) -> dict[str, tuple[Any, Any]]:
    """Settings of `profile` that differ from `other` (from the defaults): key to (other, own)."""
    own = flatten(profile.model_dump(mode="json"))
    base = flatten((other or Profile()).model_dump(mode="json"))
    return {key: (base.get(key), own[key]) for key in own if base.get(key) != own[key]}


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def field_names(model: type[BaseModel] = Profile, prefix: str = "") -> list[str]:
    """Dotted keys of every table and setting."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += [prefix + name, *field_names(field.annotation, f"{prefix}{name}.")]
        else:
            names.append(prefix + name)
    return names


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    key, raw = key.strip(), raw.strip()
    if not equals or not key:
        raise UserError(
            f"{override!r} is not of the form section.key=value",
            where="--set",
            fix="for example --set pretrain.lr=3e-4",
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word: text needs no quotes on the command line
    *tables, name = key.split(".")
    table: Any = data
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UserError(_unknown(key), where="--set")
    table[name] = value


def _explain(mistake: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        return _unknown(key)
    if mistake["type"] == "value_error":  # raised by the checks above, which name their settings
        message = str(mistake["ctx"]["error"])
        return f"[{key}] {message}" if key else message
    message = mistake["msg"].replace("Input should be", "must be")
    return f"{key} = {mistake['input']!r}: {message}"


def _unknown(key: str) -> str:
    names = field_names()
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not near:  # the right name in the wrong table, or a slip in it
        tails = {name.rsplit(".", 1)[-1]: name for name in names}
        near = difflib.get_close_matches(key.rsplit(".", 1)[-1], tails, n=1, cutoff=0.7)
        near = [tails[tail] for tail in near]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown setting {key}{hint}"
