"""The control tokens of the pipeline: each is one id in every tokenizer made here, from the start.

Only the chat template writes them. Text from files, people and tools is encoded with special
tokens switched off, so that their spelling in a text stays a text.
"""

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END_OF_TURN = "<|end|>"
FUNCTION_CALL = "<|function_call|>"
END_FUNCTION_CALL = "<|/function_call|>"
FUNCTION_RESULT = "<|function_result|>"
END_FUNCTION_RESULT = "<|/function_result|>"

#: In the order of their ids, from 0.
SPECIAL_TOKENS = (
    END_OF_TEXT,
    PAD,
    SYSTEM,
    USER,
    ASSISTANT,
    END_OF_TURN,
    FUNCTION_CALL,
    END_FUNCTION_CALL,
    FUNCTION_RESULT,
    END_FUNCTION_RESULT,
)
