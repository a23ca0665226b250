"""Names in messages. Imports nothing."""


def shortened(text: str, longest: int = 60) -> str:
    """The text, without its middle if it has more than `longest` characters: names often differ at their ends."""
    half = longest // 2 - 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
