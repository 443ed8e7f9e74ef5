"""Finds names of people that a title, a greeting or a phrase such as `my name is` announces, in English and Chinese.

Names without such a word are not found: that takes a model, such as a vertical of the task `tag`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_WORD = r"[A-Z\u00c0-\u00de][A-Za-z\u00c0-\u024f]*(?:['-][A-Z\u00c0-\u00de]?[A-Za-z\u00c0-\u024f]+)*"
_PARTICLE = "(?:van|von|de|der|den|da|di|del|la|le|bin|al) "
_NAME = rf"(?:{_PARTICLE}){{0,2}}{_WORD}(?: (?:[A-Z]\.|(?:{_PARTICLE}){{0,2}}{_WORD})){{0,3}}"
_TITLES = (
    "Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam|Mister|Herr|Frau|Monsieur|Madame|Mme|Mlle|Señor|Señora|Sr|Sra|Doctor|Captain|Judge|Lord"
    "|Lady"
)
_PHRASES = "[Mm]y name(?: is|'s)|[Nn]ame:|[Ss]igned(?:,| by)?|[Yy]ours sincerely,|(?:[Kk]ind|[Bb]est) regards,|[Tt]his is|[Ii] am called"
_ENGLISH = re.compile(rf"\b(?:{_TITLES})\b\.? ({_NAME})|\b(?:{_PHRASES})\s+({_NAME})", re.ASCII)
_NOT_NAMES = frozenset(["The", "A", "An", "My", "Your", "Our", "This", "That", "Not", "Bank", "President", "Manager", "Customer"])
_DOUBLE = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|夏侯|司徒|长孙|宇文|端木|南宫|西门|独孤"
_SINGLE = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金韦贾"
    "夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤康易乔赖文施洪殷颜倪樊兰柳葛岳齐庞安季牛童章翟"
)
_SURNAME = rf"(?:{_DOUBLE}|[{_SINGLE}])"
_AFTER = (
    "先生|女士|小姐|太太|夫人|老师|医生|大夫|律师|经理|主任|护士|教授|师傅|阿姨|叔叔|同学|工程师|博士|院长|校长|警官|法官"
    "|总(?![共是计之体和会额部结行])"
)
_BEFORE = "，。！？、；：的看见找叫给跟和与是请让由到联系问帮对向为了"
"""Characters after which a name may begin within a sentence."""
_FIELDS = "我叫|我是|名字是|名字叫|(?:姓名|联系人|收件人|持卡人|户名|开户人)[:是为]? ?"
_CHINESE = re.compile(
    rf"(?:(?<![\u4e00-\u9fff])|(?<=[{_BEFORE}]))({_SURNAME}[\u4e00-\u9fff]{{0,2}}?)(?=(?:{_AFTER}))"
    rf"|(?:{_FIELDS})({_SURNAME}[\u4e00-\u9fff]{{1,2}})(?![\u4e00-\u9fff])"
)


class Person(Mask):
    """Mask of names of people after titles and before forms of address."""

    label: ClassVar[str] = "NAME"
    precedence: ClassVar[int | None] = 110
    hints: ClassVar[tuple[str, ...]] = (
        "mr", "ms", "mx", "miss", "dr", "prof", "sir", "madam", "mister", "herr", "frau", "monsieur", "mme", "mlle", "señor", "sr",
        "doctor", "captain", "judge", "lord", "lady", "name", "signed", "regards", "sincerely", "this is", "called", "我叫",
        "我是", "名", "人",
        *re.sub(r"\(.*?\)", "", _AFTER).split("|"),
    )  # fmt: skip

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of names, without the title."""
        for pattern in (_ENGLISH, _CHINESE):
            for match in pattern.finditer(text):
                place = next(number for number, group in enumerate(match.groups(), start=1) if group)
                if match.group(place).split()[0] not in _NOT_NAMES:
                    yield match.span(place)

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with names."""
        return (
            ("Please call Mrs. O'Neill-Brown back", "O'Neill-Brown"),
            ("my name is Anna van der Berg and", "Anna van der Berg"),
            ("请联系王小明先生", "王小明"),
            ("我叫欧阳娜，卡丢了", "欧阳娜"),
        )
