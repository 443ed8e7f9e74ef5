"""Brings the characters of a text to one form without moving any, so that a place in one is a place in the other; knows no words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 2_000
"""Number of characters of a message that rules read; the time of expressions stays short for any text."""
_TRADITIONAL = (
    "這这個个們们說说話话請请謝谢嗎吗麼么沒没對对錯错還还換换號号銀银行行帳账戶户錢钱塊块點点時时間间後后週周禮礼"
    "從从給给轉转員员見见聽听讓让問问題题單单訂订電电碼码卡卡幫帮樣样裡里聯联絡络係系服服務务語语為为誰谁機机"
    "器器實实無无語语氣气爛烂騙骗壞坏聖圣亂乱萬万億亿兩两幾几歐欧鎊镑圓圆別别買买賣卖開开關关閉闭應应該该現现"
    "當当爾尔邊边過过長长門门東东嗨嗨復复複复確确認认記记錄录啟启動动馬马來来發发貨货遲迟難难熱热煩烦變变"
    "貴贵殺杀應应處处結结終终於于絕绝決决產产專专業业級级經经總总線线誤误權权覺觉樂乐歲岁與与並并廣广進进遠远"
    "運运選选邏逻輯辑陽阳隊队階阶雙双雞鸡離离電电頁页順顺預预頭头題题願愿類类飛飞驗验黃黄龍龙麗丽"
    "數数餘余際际帶带裝装掛挂編编尋寻紹绍讚赞訊讯試试詢询諮咨議议誠诚講讲識识譯译讀读談谈計计許许訴诉設设訪访評评詳详調调論论護护貼贴趕赶跡迹輛辆"
    "禮礼優优惠惠憑凭證证據据費费賬账貝贝負负責责賠赔償偿質质購购贈赠輸输軟软載载輕轻較较週周"
    "備备傢家內内凍冻兒儿剛刚勁劲勞劳匯汇協协厲厉喲哟噹当囉啰嘍喽國国報报夠够媽妈寧宁審审寫写導导屬属幣币幹干廢废張张彙汇恥耻惱恼愛爱態态慮虑慶庆憤愤懶懒擾扰敗败斷断暫暂曉晓會会條条棄弃樓楼殘残準准溝沟滾滚滿满燙烫營营異异癡痴盡尽盤盘磚砖稅税種种"
    "積积筆笔節节簽签糾纠約约綁绑緊紧繼继續续罷罢羅罗聰聪腦脑臉脸補补親亲託托証证詐诈資资辦办迴回遞递郵邮銷销錶表鍾钟鐘钟陸陆隻只項项須须領领額额顧顾飯饭駕驾驢驴體体髮发麵面"
)
_SIMPLE = {ord(one): other for one, other in zip(_TRADITIONAL[::2], _TRADITIONAL[1::2], strict=True) if one != other}
"""Simplified characters for traditional ones, as far as the built-in words need them; what a pack searches for is folded in the index."""
_ADDRESS = re.compile(r"\S+@\S+|https?://\S+|www\.\S+")
_CHINESE_GRAMMAR = re.compile(r"请问|怎么|什么|多少|[的是了吗呢吧我你您在有没不要想能会给把被哪谁几和到]")
_ENGLISH_GRAMMAR = re.compile(
    r"(?<![a-z'])(?:i|you|he|she|it|we|they|my|your|his|her|our|their|me|us|the|a|an|this|that|to|of|in|on|at|for|with|from|by|and|or|but|not|no"
    r"|is|are|was|were|am|be|do|does|did|have|has|had|can|could|will|would|should|may|what|where|when|why|how|who|which|there|please|pls"
    r"|i'm|i'd|i've|i'll|it's|don't|doesn't|didn't|can't|what's|where's)(?![a-z'])"
)
_QUOTES = {ord(one): "'" for one in "’‘`´ʼ"}
_ALTERNATIVES = re.compile(r"(\([^()]*\))")
_INNER_APOSTROPHE = re.compile("(?<=[a-z])'(?=[a-z])")
_EDGE = r"(?:(?<![a-z0-9])|(?![a-z0-9]))"
"""A place that is not between two Latin letters or digits."""


def plain(text: str) -> str:
    """Return a text of the same length in half width, lower case and simplified characters, with straight apostrophes.

    Characters whose other form has another length, such as ligatures, stay as they are. At most `LONGEST` characters are returned.
    """
    return "".join(map(_plain, text[:LONGEST]))


@functools.lru_cache(maxsize=20_000)
def _plain(character: str) -> str:
    form = unicodedata.normalize("NFKC", character).casefold().translate(_SIMPLE).translate(_QUOTES)
    if len(form) != 1:
        return character
    return " " if form.isspace() else form


def language_of(text: str) -> str | None:
    """Return `zh` or `en`, in which a text is written; None for a text without letters, besides those of addresses.

    In a mixed text, the words that build sentences decide, because names and terms of the one language stand in sentences of the other.
    Without such words, two Chinese characters are more than any number of Latin names, and one says about as much as three letters.
    """
    folded = _ADDRESS.sub(" ", plain(text))
    chinese = sum("\u3400" <= character <= "\u9fff" for character in folded)
    letters = sum(character.isascii() and character.isalpha() for character in folded)
    if not chinese or not letters:
        return "zh" if chinese else "en" if letters else None
    ours, theirs = len(_CHINESE_GRAMMAR.findall(folded)), len(_ENGLISH_GRAMMAR.findall(folded))
    if ours != theirs:
        return "zh" if ours > theirs else "en"
    if ours:
        return "en" if folded.lstrip()[:1].isascii() else "zh"
    return "zh" if chinese > 1 or 3 * chinese >= letters else "en"


def blanked(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return a text with blanks at some places, so that all others stay where they are."""
    characters = list(text)
    for start, end in places:
        characters[start:end] = " " * (end - start)
    return "".join(characters)


def any_of(phrases: Iterable[str], drawn_out: bool = False) -> re.Pattern[str]:
    """Return an expression for the places of phrases in a plain text, the longer ones first.

    Latin letters and digits of a phrase must not go on beside it; white space in it may be any, and an apostrophe between letters may be
    left out, as in `dont`. `(a|b)` in a phrase is either of both.
    With `drawn_out`, its last letter, or its only Chinese character, may be repeated, as in `yesss` and 好好好.
    """
    forms = sorted({" ".join(plain(phrase).split()) for phrase in phrases} - {""}, key=lambda form: (-len(form), form))
    parts = [_expression(form, drawn_out) for form in forms]
    return re.compile(f"{_EDGE}(?:{'|'.join(parts)}){_EDGE}" if forms else r"(?!)")


def _expression(form: str, drawn_out: bool) -> str:
    """Return the expression of a phrase, with the longer ones of its alternatives first."""
    parts = []
    written = [part for part in _ALTERNATIVES.split(form) if part]
    for number, part in enumerate(written, 1):
        choices = sorted(part[1:-1].split("|"), key=len, reverse=True) if part.startswith("(") and part.endswith(")") else [part]
        last = drawn_out and number == len(written)
        forms = [_spaced(choice) + (_more_of_last(choice) if last else "") for choice in choices]
        parts.append(f"(?:{'|'.join(forms)})" if len(choices) > 1 else forms[0])
    return "".join(parts)


def _more_of_last(form: str) -> str:
    """Return the expression for more of the last character of a form, if it is a letter or the only Chinese character."""
    last = form[-1:]
    drawn = (last.isascii() and last.isalpha()) or (len(form) == 1 and "\u3400" <= last <= "\u9fff")
    return f"{last}*" if drawn else ""


def _spaced(words: str) -> str:
    return _INNER_APOSTROPHE.sub("'?", r"\s+".join(map(re.escape, words.split(" "))))
