"""Patterns that hold in every conversation: asking for a person, cancelling, negation, several wishes; knows no intents and no flows.

What is recognised are words of a lexicon and the form of clauses. Whether two clauses are two wishes, only a model of intents can tell:
here they are candidates, and the decision keeps them apart if both are understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from vertune.dialogue.characters import blanked, language_of, plain
from vertune.dialogue.lexicon import Lexicon

__all__ = ["KINDS", "Pattern", "Reading", "language_of", "means_something", "read", "recognise"]

KINDS = (
    "human", "cancel", "leave", "repeat", "thanks", "greeting", "goodbye", "not_that", "correct", "angry", "sensitive", "small_talk",
    "affirm", "deny", "unsure",
)  # fmt: skip
_EMPTY = ("thanks", "greeting", "goodbye", "courtesy")
"""Patterns whose words say nothing about what is wanted."""
_ALONE = frozenset({"small_talk", "affirm", "deny", "unsure"})
"""Kinds that count only if they are the complete message, apart from words that say nothing."""
_MORE_ALONE = ("human", "cancel", "repeat", "greeting", "goodbye")
"""Kinds that have further words which count only if they are the complete message."""
_NOTHING_BESIDE = frozenset({"repeat", "greeting", "goodbye"})
"""Those of which even fillers change the meaning: `what` asks again, and `what is that` does not."""
_EVERYWHERE = frozenset({"not_that", "angry", "deny", "unsure", "correct", "cancel", "leave"})
"""Kinds that are looked for in negated clauses too."""
_NOT = re.compile(r"(?<![a-z])(?:don't|do not|not|no)(?![a-z])|[不别]")
_REPLIES = frozenset({"affirm", "deny"})
"""Kinds whose short words don't count inside of another pattern."""
_ASKS = re.compile(r"[?？吗呢]|(?<![a-z])(?:how|what|when|where|why|who|which|can|could)(?![a-z])|怎么|什么|多少|哪|为何|几")
_LONGEST_ALONE = 80
"""Number of characters, without fillers, from which a message is more than one pattern."""
_KIND = re.compile(
    r"(?<![a-z])(?:help|helping|helpful|info|information|time|answer|answers|reply|support|today|day|evening|weekend|great|good|nice|quick|kind"
    r"|really|everything|lot|clear|now|know|needed|wanted|perfect|brilliant|ok|okay|yes|no|yep|sure|mate|man|think|guess|bot|was|were|what"
    r"|goodness|oh|alright|right|appreciated|clearly|sorted|works|working|else|more|anything|questions?|moment)(?![a-z])"
    r"|[好是对行嗯没有其它别的问题事不用需要可以今天这么快太真大非常十分给帮助忙解答回复服务耐心告诉客气生活工作愉快顺利祝周末先这样去忙试试看哒呗咯惹谢]+"
)
"""What may stand beside thanks and goodbyes in a message that is nothing more."""
_PARTING = ("thanks", "goodbye")
_ABOUT = frozenset({"correct", "sensitive", "leave"})
"""Kinds whose words are about what is wanted."""
_FILLER = re.compile(
    r"[\s,.!?;:~…，。！？；：、～\-'\"“”()（）]+|(?<![a-z])(?:so|well|oh|um|uh|hmm|and|but|then|just|now|i|me|to|my|want|would like|like"
    r"|sorry|need|let|can|could|may|get|have|speak|talk|with|you|your|do|it|that|this|the|a|is|be|for|here|there|again|all|very|much|now|please|am|are|will"
    r"|'m|'d|'ll|'s|guys|team|everyone|dear|sir|madam)(?![a-z])|[我你您的了吧呢啊呀哦嗯那就请吗嘛啦哈想要给帮找个人位一下都很还再先]+"
)
"""What may stand beside a pattern in a message that is nothing but the pattern."""
_SHOUT, _SHOUTED = re.compile(r"[!！?？]{3,}"), 12
"""Letters from which a message in capitals only is shouted."""
_INSISTED = re.compile(r"[!！]{3,}")
_STILL_NOT = re.compile(
    r"(?<![a-z])(?:still\s+(?:no|not|nothing|waiting|haven'?t|hasn'?t)|nobody|no\s+one)(?![a-z])|还(?:是)?(?:[没未]|不(?!错))|一直没|没人|到底|太[低慢差]"
)
"""What is complained of with such marks."""
_CLAUSE_END = (
    r"(?=[,.;!?，。；！？\n]|\bbut\b|\bi(?:'d| would)? (?:want|like|need|meant|mean)\b|\binstead\b|\bjust\b|\bonly\b|$"
    r"|\bi (?:asked|said)\b(?!\s*(?:for|about|to)?\s*(?:[,.;!?]|$))|\bi(?:'m| am) (?:asking|talking|looking|trying)\b"
    r"|\b(?:can|could|may|should|shall|will|would) (?:i|you|we)\b)"
)
"""Where a clause ends: also where the next one begins without a mark, as in text from speech."""
_NEGATED = (
    re.compile(
        r"(?:(?:^|(?<=[,.;!?\n]))\s*(?:no|nope|sorry|well|but|and|actually|please|look|listen)?[\s,]*)"
        r"(?:(?:i|we)\s+(?:really\s+|certainly\s+|definitely\s+)?(?:do\s+not|don't|dont|didn't|did\s+not|didnt|never)\s+"
        r"(?:(?:want|need|wish|plan|intend|mean|try)\s+(?:you\s+)?(?:to|for|a|an|the|my|any|another|that)|ask(?:ed)?\s+(?:about|for|to|how)|said|say|mean(?!\s+(?:it|that|this)\b))"
        r"|(?:i'm|i\s+am|im|this\s+is|this\s+isn't|it's|it\s+is|that's|that\s+is|we're)\s+not\s+(?:about|asking|talking|trying|looking|going|here|interested)"
        r"(?:\s+(?:about|for|to|in))?"
        r"|(?:do\s+not|don't|dont)\s+(?=(?:cancel|block|send|close|refund|return|change|transfer|call|order|stop|freeze|delete|ship|deliver|charge|pay)\b))"
        rf"\s*(?P<what>[^,.;!?\n]+?){_CLAUSE_END}"
    ),
    re.compile(
        rf"(?:(?<=[,.;\n])|^)\s*(?:it's\s+|it\s+is\s+|and\s+)?not\s+(?:about\s+|for\s+|to\s+|that\s+)?(?P<what>[^,.;!?\n]+?){_CLAUSE_END}"
    ),
    re.compile(
        r"(?:(?<=[,.;\n])|^)\s*no\s+(?P<what>(?!problem|worries|idea|thanks|thank|one|longer|more|matter|way|need|wait|but|it|i|you|please)[a-z]+(?:\s[a-z]+)?)"
        r"(?:\s+please(?![a-z])|(?=,\s*(?:just|only|i\s+(?:want|need|just|only))(?![a-z])))"
    ),
    re.compile(rf"(?:instead\s+of|rather\s+than|and\s+not|but\s+not)\s+(?P<what>[^,.;!?\n]+?)\s*{_CLAUSE_END}"),
    re.compile(r"与其(?P<what>[^，。！？；,.!?;]{1,20}?)[,，]?\s*(?=还?不如|倒不如|宁可)"),
    re.compile(
        r"(?:要|想)(?![不没])[^，。！？；,.!?;\s不没吗]{1,12}?(?P<not>(?<![要想])不(?:是)?(?:要|想要?)|而不是)(?P<what>[^，。！？；,.!?;不吗]{2,20}?)"
        r"(?=[，。！？；,.!?;]|了?$)"
    ),
    re.compile(
        r"(?:我|我们|咱|你们?|请)?(?<!是)不是(?:要|想|说|问|想要|想问|在问|来)?(?P<what>[^，。！？；,.!?;\s吗]{1,30}?)[,，]?\s*(?:而是|是要|是想|是问|是说|(?<!不)是)(?=.)"
    ),
    re.compile(
        r"(?:(?<=[，。！？；,.!?;\s])|^)(?:不[，,]\s*)?(?:我|我们|咱|其实|并|也|可|但|但是|千万|请|先|现在|暂时)*"
        r"(?:(?<!想)不想(?:要|再)?|(?<!要)不要|(?<!是)不是(?:要|想|说|问|想要|想问|在问|来)?|不打算|(?<!用)不用|无需|(?<!需)不需要|没有?(?:说要?|问(?!题)|想要?|要(?![求的]))|别(?![的人处])|不准备)"
        r"(?P<what>[^，。！？；,.!?;]{1,40}?)(?=[，。！？；,.!?;]|但|只是|而是|我要|我想|我只|$)"
    ),
)
"""How clauses are negated; `what` is what the customer doesn't want."""
_STILL = re.compile(r"any\s?more|any\s+longer|no\s+longer|twice|again\b|不想?要了$|[了吗么]$")
"""What makes a negated clause a wish of its own: `I don't want my card any more`, 我不想要了, 我不是付过了吗."""
_POINT = r"(?:that|this|it|these|those|them|one|that one|this one|here|yet|sure|really|now|这个?|那个?|这样|这些|那些|的|了)"
_POINTS = re.compile(rf"\W*|{_POINT}(?:\s+{_POINT})*")
"""What a negation of the last reply negates, rather than a wish."""
_ENDS = re.compile(r"\W*$|\s*[,.;!?，。；！？]|\s*(?:please|then|now|thanks|and|but|i|what|how|吧|了|啊|我|谢谢|不|先|别)")
"""What follows a word for cancelling that has no object: not `cancel that transfer`."""
_LEADING = re.compile(r"^(?:(?:but|and|so|then)\s+|(?:但是?|而是|那么?)(?=.{2}))", re.IGNORECASE)
_QUESTION = re.compile(r"\s*[?？]")
_LEAST_LETTERS, _LEAST_CHARACTERS = 6, 3
"""Smallest size of a wish, in Latin letters and in Chinese characters."""
_MOST_WISHES = 3
_STARTER = (
    r"(?:(?:refund|block|transfer|pay|return|exchange|freeze|track|close|open|replace|activate)(?=\s+(?:my|me|the|an?|it|\$?\d))"
    r"|i|i'm|i'd|i've|how|what|what's|when|where|why|which|who|can|could|would|is|are|does|do|did|my|please|tell|change|cancel|check|send|also|"
    r"show|there|will|should|have|has|it|the|we)\b"
)
_JOINT = re.compile(
    rf"[.?!;\n。？！；]+\s*|(?<!\s)[,，]?\s*(?:\b(?:and\s+)?(?:also|additionally|besides|another\s+thing|one\s+more\s+thing|on\s+top\s+of\s+that|plus|secondly)\b"
    rf"|(?:\band|&)\s+(?={_STARTER})|\bas\s+well\s+as\b|,\s*(?={_STARTER}))[,:]?\s*"
    r"|(?<![,，、\s])[,，、\s]*(?:还有就是|还有|另外|顺便(?:问一下|问下|再)?|以及|并且|同时|此外|再问一下|再就是|然后(?=帮|给我|再|我还?[想要]|转|查|改|开|取消|退|请)|第二|其次|还想(?:问|知道)?|也想(?:问|知道)?|再帮我|再)[,，：:]?\s*|[,，]\s*"
)
"""Where a message may go on to another wish."""
_PEOPLE = re.compile(
    r"\W*(?:my|our)\s+(?:husband|wife|partner|friends?|son|daughter|brother|sister|mother|father|mum|mom|dad|boss|colleague|girlfriend|boyfriend"
    r"|kids?|children|family|flatmate|roommate|fiancée?|parents)\W*",
    re.IGNORECASE,
)


class Pattern(NamedTuple):
    """A pattern in a message."""

    kind: str
    """One of `KINDS`."""
    start: int
    end: int
    name: str = ""
    """Which small talk or sensitive topic."""


class Reading(NamedTuple):
    """What rules say about a message."""

    language: str | None
    """`en` or `zh`; None for a message without letters."""
    patterns: tuple[Pattern, ...]
    """The patterns in the order of their places."""
    rest: str
    """The message without greetings, thanks, courtesy and what is negated; empty if nothing else is left."""
    wishes: tuple[str, ...]
    """Parts that may be different wishes: none, or two or three."""
    rejected: tuple[str, ...]
    """What the customer says that they don't want."""

    def has(self, kind: str) -> bool:
        """Return whether the message has a pattern of a kind."""
        return any(pattern.kind == kind for pattern in self.patterns)

    def named(self, kind: str) -> str | None:
        """Return the name of the first pattern of a kind, if there is one."""
        return next((pattern.name for pattern in self.patterns if pattern.kind == kind), None)


def read(text: str, lexicon: Lexicon | None = None) -> Reading:
    """Return what a message contains besides what it is about. Without a lexicon, the built-in words are read."""
    lexicon = lexicon or Lexicon.built_in()
    folded = plain(text)
    text = text[: len(folded)]
    negated = list(_negations(folded))
    rejected = tuple(text[start:end].strip() for _, start, end in negated)
    affirmed = blanked(folded, [(whole, end) for whole, _, end in negated])
    patterns = _patterns(text, folded, affirmed, lexicon)
    aside = [(pattern.start, pattern.end) for pattern in patterns if pattern.kind == "not_that"]
    emptied = blanked(affirmed, [*_empty(affirmed, lexicon), *aside])
    beside = blanked(emptied, [(pattern.start, pattern.end) for pattern in patterns if pattern.kind not in _ABOUT])
    if any(lexicon.find(kind, affirmed) for kind in _PARTING) and not _ASKS.search(folded):
        beside = _KIND.sub(" ", beside)
    rest = _original(text, emptied) if means_something(beside) else ""
    return Reading(language_of(text), tuple(patterns), rest, _wishes(text, emptied) if rest else (), rejected)


def recognise(text: str, lexicon: Lexicon | None = None) -> list[Pattern]:
    """Return the patterns in a message in the order of their places."""
    return list(read(text, lexicon).patterns)


def _patterns(text: str, folded: str, affirmed: str, lexicon: Lexicon) -> list[Pattern]:
    """Return the patterns of a message: denials and anger in all of it, the rest in what isn't negated."""
    found = []
    left = blanked(folded, _empty(folded, lexicon))
    short = len(_FILLER.sub("", left)) <= _LONGEST_ALONE
    for kind in KINDS:
        if kind in _ALONE and not short:
            continue
        matches = lexicon.find(kind, folded if kind in _EVERYWHERE else affirmed)
        if kind == "human":  # `I don't want to talk to a machine` is negated itself
            matches += [
                match for match in lexicon.find(kind, folded) if _NOT.search(folded[match.start : match.end]) and match not in matches
            ]
        if kind == "cancel":
            matches = [match for match in matches if _ENDS.match(folded, match.end)]
        elif kind in _ALONE:
            matches = [match for match in matches if _is_alone(left, match.start, match.end)]
        found += [Pattern(kind, match.start, match.end, match.name) for match in matches]
    for kind in _MORE_ALONE if short else ():
        if not any(pattern.kind == kind for pattern in found):
            alone = [Pattern(kind, one.start, one.end) for one in lexicon.find(f"{kind}_alone", folded)]
            fits = [one for one in alone if (_is_all if kind in _NOTHING_BESIDE else _is_alone)(left, one.start, one.end)]
            found += [one for one in fits if not any(_contains(other, one) for other in found)]
    if not any(pattern.kind == "angry" for pattern in found):
        found += [Pattern("angry", *place) for place in _shouted(text)]
    found = [one for one in found if one.kind not in _REPLIES or not any(_contains(other, one) for other in found)]
    return sorted(found, key=lambda pattern: (pattern.start, -pattern.end))


def _contains(one: Pattern, other: Pattern) -> bool:
    """Return whether a pattern is longer than another one and contains it, as a greeting does that ends like a yes."""
    return one.start <= other.start and other.end <= one.end and one.end - one.start > other.end - other.start


def _empty(folded: str, lexicon: Lexicon) -> list[tuple[int, int]]:
    """Return where words are that say nothing about what is wanted."""
    return [(found.start, found.end) for kind in _EMPTY for found in lexicon.find(kind, folded)]


def _shouted(text: str) -> Iterator[tuple[int, int]]:
    letters = [character for character in text if character.isascii() and character.isalpha()]
    marks = _SHOUT.search(text)
    if marks and len(letters) >= _SHOUTED and all(map(str.isupper, letters)):
        yield marks.span()
    elif marks and (insisted := _INSISTED.search(text)) and _STILL_NOT.search(plain(text)):
        yield insisted.span()


def _is_alone(left: str, start: int, end: int) -> bool:
    """Return whether a message, of which words that say nothing are left out, contains nothing but the pattern at a place."""
    return not means_something(blanked(left, [(start, end)]))


def _is_all(left: str, start: int, end: int) -> bool:
    return not any(map(str.isalnum, left[:start] + left[end:]))


def means_something(folded: str) -> bool:
    """Return whether a plain text contains more than marks and words that say nothing by themselves."""
    return bool(_FILLER.sub("", folded).strip())


def _negations(folded: str) -> Iterator[tuple[int, int, int]]:
    """Yield where a negated clause begins, where what it negates begins, and where both end; none overlaps an earlier one."""
    taken = 0
    matches = [match for expression in _NEGATED for match in expression.finditer(folded)]
    for match in sorted(matches, key=lambda match: match.start()):  # of several at one place the first expression, which is the narrowest
        what, end = match["what"].strip(), match.end("what")
        if match.start() >= taken and not _STILL.search(what) and not _POINTS.fullmatch(what) and not _QUESTION.match(folded, end):
            taken = end
            yield match.start("not" if "not" in match.re.groupindex else 0), match.start("what"), end


def _original(text: str, folded: str) -> str:
    """Return what was written where a text of the same length isn't blank, without the marks that then begin or end it."""
    kept = "".join(one if other != " " or one.isspace() else "\0" for one, other in zip(text, folded, strict=True))
    return _LEADING.sub("", re.sub(r"\s*\0+\s*", " ", kept).strip(" \t\n,;，；、。.!！:：-"))


def _wishes(text: str, folded: str) -> tuple[str, ...]:
    """Return the parts of a message at its joints, if each of several could be a wish; else none."""
    parts, start = [], 0
    for joint in _JOINT.finditer(folded):
        if joint.start() > start:
            parts.append((start, joint.start()))
        start = joint.end()
    parts.append((start, len(folded)))
    candidates = [_original(text[start:end], folded[start:end]) for start, end in parts]
    wishes = [part for part in candidates if _could_be_wish(part)]
    return tuple(wishes[:_MOST_WISHES]) if len(wishes) > 1 else ()


def _could_be_wish(part: str) -> bool:
    if _PEOPLE.fullmatch(part):
        return False  # `my husband and I` are one
    chinese = sum("\u3400" <= character <= "\u9fff" for character in part)
    letters = sum(character.isascii() and character.isalpha() for character in part)
    return chinese >= _LEAST_CHARACTERS or (letters >= _LEAST_LETTERS and len(part.split()) > 1)
