"""What training tells, as lines for people: the log of a run, and a script's output."""

from gptcore import events
from gptcore.text import clean


def log_line(payload: events.Payload, step: int | None = None) -> str:
    """One record as text, harmless to print; empty where it needs no line."""
    at = "" if step is None else f"step {step}  "
    match payload:
        case events.Step(loss=None):
            return f"{at}loss not finite" + ("; step skipped" if payload.skipped else "")
        case events.Step(loss=float(loss)):
            speed = f"  {payload.tokens_per_s:,.0f} tokens/s" if payload.tokens_per_s else ""
            return f"{at}loss {loss:.4f}  lr {payload.lr:.2e}{speed}"
        case events.Eval():
            value = "not finite" if payload.val_loss is None else f"{payload.val_loss:.4f}"
            return f"{at}validation loss {value}{' (best so far)' if payload.best else ''}"
        case events.Reward():
            return f"{at}{_fared(payload)}"
        case events.Sample():
            return f"{at}sample: {clean(payload.prompt + payload.text)}"
        case events.Checkpoint():
            return f"{at}checkpoint {clean(payload.path)} ({clean(payload.why)})"
        case events.Warn():
            return f"warning: {clean(payload.message)}"
        case events.Note():
            return clean(payload.message)
        case events.Failure():
            return f"error: {clean(payload.what)}"
        case events.Resume():
            return f"goes on from step {payload.step}, attempt {payload.attempt}"
        case events.StageChange():
            said = [payload.message, payload.output and f"-> {payload.output}"]
            return clean("  ".join(word for word in (f"stage {payload.phase}", *said) if word))
        case events.RunChange() if payload.state != "running" or payload.message:
            said_why = f": {payload.message}" if payload.message else ""
            return clean(f"run {payload.state}{said_why}")
        case events.Answer():
            said_why = f": {payload.message}" if payload.message else ""
            return clean(f"{payload.command} {payload.outcome}{said_why}")
    return ""  # progress says little in many lines; that a run runs, its stages say


def _fared(told: events.Reward) -> str:
    """How answers or pairs fared, in a line."""
    said = ["held-out"] if told.held_out else []
    if told.mean is not None:
        said.append(f"reward {told.mean:.3f}")
    if told.accuracy is not None:
        said.append(f"accuracy {told.accuracy:.1%}")
    if told.margin is not None:
        said.append(f"margin {told.margin:.3f}")
    if told.kl is not None:
        said.append(f"KL {told.kl:.2f}")
    return "  ".join(said) or "no reward is finite"
