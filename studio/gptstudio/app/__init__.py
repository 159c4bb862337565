"""The Textual app: the studio that `gptstudio` opens."""
