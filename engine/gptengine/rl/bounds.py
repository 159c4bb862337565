"""Where a training by rewards ends: too far from its start, or too sure of itself."""

from collections.abc import Callable

from gptcore import events
from gptcore.errors import UserError
from gptcore.rl_settings import RolloutSettings


def check_bounds(
    told: events.Reward, settings: RolloutSettings, save: Callable[[], object]
) -> None:
    """End a training that has left its bounds, with a checkpoint of where it is.

    Raises:
        UserError: The divergence is too large, or the entropy too small.
    """
    table, said = settings.table, ""
    if settings.max_kl and told.kl is not None and not told.kl <= settings.max_kl:
        said = (
            f"the model has gone {told.kl:.1f} nats an answer from where it started,"
            f" beyond {table}.max_kl = {settings.max_kl:g}"
        )
        fix = f"lower {table}.lr = {settings.lr:g}, or raise {table}.kl_coef = {settings.kl_coef:g}"
    elif told.entropy is not None and not told.entropy >= settings.min_entropy:
        said = (
            f"the entropy is {told.entropy:.3f} nats a token, below {table}.min_entropy ="
            f" {settings.min_entropy:g}: the model answers the same again and again"
        )
        fix = (
            f"lower {table}.lr = {settings.lr:g}, or raise {table}.temperature ="
            f" {settings.temperature:g}"
        )
    if said:
        save()
        raise UserError(said, where="a checkpoint of it was saved", fix=fix)
