"""Text of unknown origin, such as a name in a file, made safe to print."""


def printable(text: str) -> str:
    r"""`text` with everything that is not printable escaped, as in a string literal.

    A terminal obeys control characters ("\x1b[2J" clears it), and marks of direction make a text
    look like another. Letters of every language, signs and spaces stay as they are.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
