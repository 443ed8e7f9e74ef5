"""Finds names of people that a title, a greeting or a phrase such as `my name is` announces, in English and Chinese.

Names without such a word are not found: that takes a model, such as a vertical of the task `tag`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask
from vertune.masks._names import DOUBLE_SURNAMES, ENDS_LIKE_A_NAME, NO_ENGLISH_NAMES, NOT_NAMES, RARELY_ALONE, SURNAMES, THINGS

_UPPER, _LETTER = r"[A-Z\u00c0-\u00de\u0100-\u024f]", r"[A-Za-z\u00c0-\u024f]"
_WORD = rf"{_UPPER}{_LETTER}*(?:['-]{_UPPER}?{_LETTER}+)*"
_PARTICLE = "(?:van|von|de|der|den|da|di|del|la|le|bin|al) "
_PART = rf"(?:St\. |[A-Z]\. ?){{0,3}}(?:{_PARTICLE}){{0,2}}{_WORD}"
_NEXT_SENTENCE = r"(?!(?:I|My|The|This|That|Please|Can|Could|Is|It|We|You|He|She|And|But|Your|Our|What|When)\b)"
_NAME = rf"{_PART}(?: {_NEXT_SENTENCE}{_PART}){{0,3}}"
_TITLES = (
    "Mr|Mrs|Ms|Mx|Dr|Prof|Professor|Sir|Madam|Mister|Herr|Frau|Monsieur|Madame|Mme|Mlle|Señor|Señora|Sr|Sra|Doctor|Captain|Judge|Lord|Lady"
)
_FACULTY = r"(?:(?:med|phil|jur|rer|nat|habil|h\.c)\. ?){0,3}"
_MISSED = "(?<!I )(?<!to )(?<!ll )(?<![Ww]e )(?<!you )(?<!they )(?<![Nn]ear )(?<!'t )(?<!not )"
"""What stands before the verb: I miss, to miss, will miss, near miss."""
_PHRASES = (
    r"[Mm]y (?:full |first |last |family |given )?name(?: is|'s)"
    r"|(?:[Ss]ur)?[Nn]ame:"
    r"|[Ss]igned(?:,| by)|[Yy]ours sincerely,|(?:[Kk]ind|[Bb]est) regards,|[Tt]his is|[Ii] am called"
)
_ENGLISH = re.compile(
    rf"\b(?:(?:{_TITLES}|{_MISSED}Miss(?!\.))\b\.? {_FACULTY}){{1,3}}({_NAME})|\b(?:{_PHRASES})\s+({_NAME})"
    r"|\b(?:MR|MRS|MS|MISS|DR|PROF)\b\.? ((?:[A-Z]\. ?){0,3}[A-Z][A-Z'-]+(?: [A-Z][A-Z'-]+)?)(?![A-Za-z])",
    re.ASCII,
)
_NO_NAMES = NO_ENGLISH_NAMES | {"miss", *_TITLES.lower().split("|")}
_AFTER = (
    "先生|女士|小姐|太太|夫人|老师|医生|大夫|律师|经理|主任|护士|教授|师傅|阿姨|叔叔|同学|工程师|博士|院长|校长|警官|法官|总监|主管|老板|店长|部长|处长|科长|局长|厂长|队长"
    "|总(?![共是计之体和会额部结行台店站总量而算的要])"
)
_TITLE = re.compile(_AFTER)
_BEFORE = frozenset(
    "的看见找叫给跟和与是请让由到联系问帮对向为了知告天人好户服员家位台您年月日时晚早午友事长师理因就还又也都再说听有没去来往随陪被把将从托嘱称"
    "我你他她们地得着过在客访主送寄交递前后上下里外边此那这该名用示烦求谢"
)
"""Characters after which a name may begin within a sentence."""
_NEVER_GIVEN = frozenset("的了是下给与或被到把让这那不也就还吗呢吧啊您我你他她总")
"""Characters that no given name contains."""
_KINDS_OF_PEOPLE = frozenset("人员生族粉户者级版区店痴")
"""How words for kinds of people end, which follow 我是 more often than a name."""
_LONGEST = 4
_HAN = "[\u4e00-\u9fff]"
_SURNAME = rf"(?:{'|'.join(sorted(DOUBLE_SURNAMES))}|[{''.join(sorted(SURNAMES))}])"
_WORD_BEFORE, _LONGEST_WORD = re.compile(r"([A-Za-z]+) $"), 24
_LATIN = re.compile("[A-Za-z]")
_FIELDS = "我叫|名字是|名字叫|(?:姓名|联系人|收件人|收货人|寄件人|持卡人|户名|开户人|乘客|患者)[:是为]? ?"
_GOES_ON = "[想要在是的住我他她你]|今年|手机|电话|身份证|来自|之前|昨天|今天"
"""What may follow a name within a sentence."""
_FIELD = re.compile(
    rf"(?:{_FIELDS})(?:({_HAN}{{1,12}}(?:[·•・‧]{_HAN}{{1,12}}){{1,3}})|({_SURNAME}{_HAN}{{1,2}}?)(?:(?!{_HAN})|(?={_GOES_ON}))"
    rf"|([A-Z][A-Za-z'-]+(?: [A-Z][A-Za-z'-]*){{0,2}}))"
    rf"|我是({_SURNAME}{_HAN}{{1,2}})(?!{_HAN})|(?:我|免贵)姓({_SURNAME})(?:(?!{_HAN})|(?=[叫的]))"
)


class Person(Mask):
    """Mask of names of people after titles and before forms of address."""

    label: ClassVar[str] = "NAME"
    precedence: ClassVar[int | None] = 110
    hints: ClassVar[tuple[str, ...]] = (
        "mr", "ms", "mx", "miss", "dr", "prof", "sir", "madam", "mister", "herr", "frau", "monsieur", "mme", "mlle", "señor", "sr",
        "doctor", "captain", "judge", "lord", "lady", "name", "signed", "regards", "sincerely", "this is", "called", "我叫",
        "我是", "姓", "名", "人", "乘客", "患者",
        *re.sub(r"\(.*?\)", "", _AFTER).split("|"),
    )  # fmt: skip

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of names, without the title."""
        chinese = not text.isascii()
        for pattern in (*((_ENGLISH,) if _LATIN.search(text) else ()), *((_FIELD,) if chinese else ())):
            for match in pattern.finditer(text):
                name = match.group(match.lastindex or 0)
                if name.split()[0].lower() in _NO_NAMES or (match.group()[:5].lower() == "name:" and _is_of_a_thing(text, match.start())):
                    continue
                if not chinese or _is_name(name, match.group()):
                    yield match.span(match.lastindex or 0)
        for match in _TITLE.finditer(text) if chinese else ():
            if length := _length_of_name(text, match.start()):
                yield match.start() - length, match.start()

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with names."""
        return (
            ("Please call Mrs. O'Neill-Brown back", "O'Neill-Brown"),
            ("my name is Anna van der Berg and", "Anna van der Berg"),
            ("请联系王小明先生", "王小明"),
            ("我叫欧阳娜，卡丢了", "欧阳娜"),
        )


def _is_of_a_thing(text: str, start: int) -> bool:
    """Return whether the word before `name:` says that a thing has this name."""
    word = _WORD_BEFORE.search(text, max(0, start - _LONGEST_WORD), start)
    return word is not None and word.group(1).lower() in THINGS


def _is_name(name: str, phrase: str) -> bool:
    """Return whether what follows a phrase such as 我是 can be a name."""
    if name[:2] in NOT_NAMES or _TITLE.search(name) or not _NEVER_GIVEN.isdisjoint(name[1:]):
        return False
    return not (phrase.startswith("我是") and name[-1] in _KINDS_OF_PEOPLE)


def _length_of_name(text: str, stop: int) -> int:
    """Return how many Chinese characters before a title are a name; 0 if none are."""
    for length in range(min(_LONGEST, stop), 0, -1):
        start = stop - length
        name = text[start:stop]
        surname = 2 if name[:2] in DOUBLE_SURNAMES else 1 if name[0] in SURNAMES else 0
        if not surname or length - surname > 2 or not all(_is_han(char) for char in name) or not _NEVER_GIVEN.isdisjoint(name[surname:]):
            continue
        if name in NOT_NAMES:
            return 0
        if name[:2] in NOT_NAMES or name in RARELY_ALONE:
            continue
        before = text[start - 1 : start]
        if not before or not _is_han(before) or (before in _BEFORE and before + name[0] not in ENDS_LIKE_A_NAME):
            return length
    return 0


def _is_han(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"
