"""Raw text -> words: the pre-tokeniser for all text without words.

Readers of character-span formats, prediction on raw text and the exported model all call :func:`split_words`, so
training and prediction see the same words. :data:`WORDS_VERSION` is stored with a model; increase it whenever the
results change.

The rules:

* White space (by `str.isspace`) separates words; every other character is in exactly one word.
* A URL, an @handle or a #tag is one word, without the punctuation that follows it.
* Letters, digits and marks form a word, over single inner hyphens, apostrophes, periods, ``&``, ``+``, ``_``, ``@``
  and ``#`` (``Jean-Luc``, ``O'Neil``, ``me@example.com``, ``AT&T``), and over ``,`` ``:`` ``/`` between digits
  (``3,000``, ``10:30``). A number keeps its sign.
* A period stays with initials (``U.S.``; ``J.`` before a capital) and with a few abbreviations (``Mr.``, ``Inc.``).
* ``'s 'm 're 've 'll 'd`` and ``n't`` at the end are words of their own, as in the CoNLL and Penn corpora.
* An HTML entity (``&amp;``) is one word.
* CJK ideographs, kana and emoji stand alone, one by one; an emoji keeps its modifiers, and a joined sequence or a flag
  is one emoji.
* Other punctuation and symbols stand alone; a run of the same one (``...``, ``--``, ``!!!``) is one word.
* Combining marks, joiners, zero-width and control characters are attached to the preceding character, or else to the
  next; they never split a word.

Scripts written without spaces other than Chinese and Japanese (Thai, Khmer, …) are not segmented. Quantifiers are
possessive or followed by a pattern that always matches, so time is linear in the length of the text.
"""

from __future__ import annotations

import regex

WORDS_VERSION = "1"
"""Changes with the rules; models trained with another version would see different words."""

# Fragments of character classes, in regex's version-1 syntax. _SPACE is str.isspace, since \s lacks the separators
# U+001C to U+001F.
_SPACE = r"\t-\r\x1C-\x20\x85\xA0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000"
_ZERO = rf"[[\p{{M}}\p{{Cf}}\p{{Cc}}\uFF9E\uFF9F]--[{_SPACE}]]"
_CJK = r"[[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30FC\uFF70]--[\p{P}\p{S}\p{M}]]"
_EMOJI = r"\p{Extended_Pictographic}"
_CHAR = rf"[_[^{_SPACE}\p{{P}}\p{{S}}{_CJK}{_EMOJI}]]"
_ABBREVIATION = (
    r"Mrs?|Ms|Dr|Prof|St|[JS]r|Inc|Ltd|Corp?|Bros|vs|etc|Gen|Col|Lt|Sgt|Capt|Sen|Rep|Gov|Rev|Hon|Vol|pp|Fig|Ph\.D|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)

_WORD = regex.compile(
    rf"""
    [A-Za-z0-9]++ (?= [\x20\n] | \Z) |                                         # most words, fast
    {_ZERO}*+
    (?:
      (?i:https?://|ftp://|www\.) [^{_SPACE}<>"{_CJK}]* [^{_SPACE}<>"{_CJK}.,;:!?'’)\]}}…] |
(?<! [^{_SPACE}] ) ['’] (?i: s|m|re|ve|ll|d ) (?! [^{_SPACE}] ) |       # "it 's", cut already
      & (?: [A-Za-z]{{2,8}} | \# [0-9]{{1,6}} ) ; |                            # &amp;
      [0-9\#*] \uFE0F?+ \u20E3 {_ZERO}*+ |                                      # keycaps
      (?: \p{{L}}\p{{M}}*+ \. ){{2,}}+ (?! \. | {_CHAR}) |                      # U.S.
      (?: {_ABBREVIATION} ) \. (?! \. | {_CHAR}) |
      \p{{Lu}} \. (?= [{_SPACE}]++ \p{{Lu}}) |                                  # J. Smith
      {_CJK} {_ZERO}*+ |
      (?: [@\#] (?= {_CHAR}) | (?<! [^{_SPACE}(\[]) [-+−] (?= \d) )?+
      {_CHAR}++ (?: (?: [-‐‑–'’.·&+@\#״׳] | (?<= \d) [,:/] (?= \d) ) {_CHAR}++ )*+ |
      \p{{Regional_Indicator}}{{2}} {_ZERO}*+ |
      {_EMOJI} (?: {_ZERO} | \p{{Emoji_Modifier}} )*+
        (?: (?<= \u200D) {_EMOJI} (?: {_ZERO} | \p{{Emoji_Modifier}} )*+ )*+ |
      (?P<same> [\p{{P}}\p{{S}}] ) (?P=same)*+ {_ZERO}*+ |
      [^{_SPACE}]
    ) |
    {_ZERO}++
    """,
    regex.VERBOSE | regex.VERSION1,
)

_CLITIC = regex.compile(r"(?<=\w)(?:['’](?:s|m|re|ve|ll|d)|n['’]t)\Z", regex.IGNORECASE)


def split_words(text: str) -> list[tuple[int, int]]:
    """Split raw text into words.

    Args:
        text: any text; line breaks are white space.

    Returns:
        Start and end (exclusive) of each word in ``text``, in characters and in order.

    >>> text = "Jean-Luc's e-mail (in the U.S.): 3,000 EUR..."
    >>> [text[start:end] for start, end in split_words(text)]
    ['Jean-Luc', "'s", 'e-mail', '(', 'in', 'the', 'U.S.', ')', ':', '3,000', 'EUR', '...']
    """
    words = [match.span() for match in _WORD.finditer(text)]
    if "'" not in text and "’" not in text:
        return words
    detached: list[tuple[int, int]] = []
    for start, end in words:
        # The longest clitic has three characters; a bounded search keeps time linear for long words.
        clitic = _CLITIC.search(text, max(start + 1, end - 3), end) if end - start > 2 else None
        detached += [(start, end)] if clitic is None else [(start, clitic.start()), (clitic.start(), end)]
    return detached
