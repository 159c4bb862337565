"""Writing with a model for many prompts at once: for evaluation, rollouts and chat."""

from gptengine.decoding.decoder import Decoder, Written, chat_decoder

__all__ = ["Decoder", "Written", "chat_decoder"]
