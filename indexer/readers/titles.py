"""Knows how MovieLens writes titles: ``Matrix, The (1999)``.

It refuses to know films; a title that does not look like that is left as it is.
"""

import re

_YEAR = re.compile(
    r"\s*\(\s*(?P<year>\d{4})\s*(?:[-–—]\s*(?:\d{4})?\s*)?\)+"  # noqa: RUF001
    r"(?:\s*\((?:V|TV)\))?\s*$"
)
# English, French, Spanish, Italian, German, Dutch, the Scandinavian languages and Portuguese.
_ARTICLES = (
    "The|An?|L[ae]|Les|L['’]|Une?|El|L[ao]s|Una|Il|Lo|I|Gli|Der|Die|Das|Eine?|"  # noqa: RUF001
    "De[nt]?|En|Ett?|Het|Een|Os?|As"
)
_TRAILING_ARTICLE = re.compile(
    r"(?P<before>(?:^|\()\s*(?:a\.?k\.?a\.?\s+)?)(?P<title>[^\s()][^()]*), "
    rf"(?P<article>{_ARTICLES})(?=\s*(?:[()]|$))"
)


def parse_title(text: str) -> tuple[str, int]:
    """Return a title without its year and with its article in front, and the year (0: unknown).

    Of a span of years the first counts. Titles in parentheses are treated alike:
    ``City of Lost Children, The (Cité des enfants perdus, La) (1995)`` becomes
    ``The City of Lost Children (La Cité des enfants perdus)`` of 1995.
    """
    match = _YEAR.search(text)
    title, year = (text[: match.start()], int(match["year"])) if match else (text, 0)
    if not title.strip():
        title, year = text, 0
    title = title.strip()
    return _TRAILING_ARTICLE.sub(_article_first, title) if ", " in title else title, year


def _article_first(match: re.Match[str]) -> str:
    gap = "" if match["article"].endswith(("'", "’")) else " "  # noqa: RUF001
    return f"{match['before']}{match['article']}{gap}{match['title']}"
