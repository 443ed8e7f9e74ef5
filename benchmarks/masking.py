"""Masks of personal data on generated texts: recall and precision of each kind, in English and Chinese, and texts per second.

    python benchmarks/masking.py [--texts 10000]

For each kind, texts with one known value are made: a tenth of the digits are of full width, and numbers are written together, with
spaces or with hyphens. Look-alikes are numbers of orders, prices, dates, versions, times and quantities. Recall is the share of known
values that are masked with all of their characters; precision is the share of right ones among what is masked, look-alikes included.
The generators know nothing of the masks: check digits are computed here. Results go to benchmarks/results/masking.json.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processor import code, measured_here

from vertune.cleaners.mask import MaskData
from vertune.core.files import write_json

OUT = Path(__file__).parent / "results" / "masking.json"
FULL = str.maketrans(string.digits, "０１２３４５６７８９")
ENGLISH = (
    "Hello, {} is what I told you last week.", "Could you check {} for me, please?", "I wrote down {} but nobody answered.",
    "It still shows {} in my account, why?", "{} was wrong, so correct it.", "Please use {} from now on",
)  # fmt: skip
CHINESE = ("你好，{}是我上周告诉你们的。", "麻烦查一下{}，谢谢", "我填的是{}，一直没人回复", "账户里还是显示{}，为什么？", "请以后都用{}")
MAIL_NAMES, HOSTS = (
    ("anna", "wang.fang", "j_smith88", "zhangsan", "li-na", "o.brien"),
    ("example.com", "mail.example.org", "bank.example.co.uk", "qq.com"),
)
STREETS = ("Baker Street", "Market St", "Old Kent Road", "Fifth Avenue", "Maple Drive", "King's Road", "Sunset Blvd", "Church Lane")
TOWNS = ("London", "Springfield", "New York", "Leeds", "San Jose")
ROADS = ("上海市浦东新区世纪大道", "北京市朝阳区建国路", "广东省深圳市南山区科技园路", "杭州市西湖区文三路", "成都市武侯区人民南路")
FIRST, LAST = ("Anna", "Omar", "Priya", "John", "Maria", "Liam"), ("Smith", "O'Neill", "van Dyk", "Garcia", "Brown-Lee", "Nguyen")
SURNAMES, GIVEN = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗", ("芳", "伟", "小明", "娜", "建国", "思远", "丽华", "强")
TITLES = ("先生", "女士", "小姐", "老师", "医生", "经理", "律师")
Make = Callable[[random.Random, bool], tuple[str, str, str]]
"""Returns what stands before a value, the value, and what stands after it; the flag says whether the text is Chinese."""


def digits(draw: random.Random, count: int) -> str:
    """Random digits."""
    return "".join(draw.choices(string.digits, k=count))


def grouped(draw: random.Random, value: str, sizes: tuple[int, ...]) -> str:
    """The value together, or in groups with spaces or hyphens."""
    parts, start = [], 0
    for size in sizes:
        parts.append(value[start : start + size])
        start += size
    parts.append(value[start:])
    return draw.choice(["", " ", "-"]).join(filter(None, parts))


def luhn(body: str) -> str:
    """The digits with their check digit by Luhn's method."""
    total = 0
    for place, char in enumerate(reversed(body)):
        number = int(char) * (2 if place % 2 == 0 else 1)
        total += number - 9 if number > 9 else number
    return body + str(-total % 10)


def mail(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    return "", f"{draw.choice(MAIL_NAMES)}{draw.choice(['', '1990', '+shop'])}@{draw.choice(HOSTS)}", ""


def card(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    start, length = draw.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2223", 16), ("622202", 19), ("621700", 19), ("6011", 16), ("3530", 16)]
    )
    return "", grouped(draw, luhn(start + digits(draw, length - len(start) - 1)), (4, 4, 4, 4)), ""


def phone(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    if chinese:
        mobile = draw.choice(["138", "139", "150", "186", "177", "199"]) + digits(draw, 8)
        landline = draw.choice(["010", "021", "020"]) + "-" + draw.choice("568") + digits(draw, 7)
        return "", draw.choice([grouped(draw, mobile, (3, 4)), landline, "+86 " + mobile]), ""
    area = draw.choice(["212", "415", "312", "646", "206"])
    number = f"{draw.choice('2345678')}{digits(draw, 2)}"
    last = digits(draw, 4)
    british = f"07{draw.choice(['400', '712', '912', '834'])} {digits(draw, 6)}"
    return (
        "",
        draw.choice(
            [
                f"({area}) {number}-{last}",
                f"{area}-{number}-{last}",
                f"+1 {area} {number} {last}",
                f"+49 30 {draw.choice('23456789')}{digits(draw, 6)}",
                british,
            ]
        ),
        "",
    )


def iban(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    country, body = draw.choice(
        [("DE", digits(draw, 18)), ("GB", "NWBK" + digits(draw, 14)), ("FR", digits(draw, 23)), ("NL", "ABNA" + digits(draw, 10))]
    )
    number = int("".join(str(int(char, 36)) for char in body + country + "00"))
    value = f"{country}{98 - number % 97:02d}{body}"
    return "", draw.choice([value, " ".join(value[place : place + 4] for place in range(0, len(value), 4))]), ""


def ip(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    four = ".".join(str(draw.randint(1, 254)) for _ in range(4))
    six = ":".join(f"{draw.randint(1, 65535):x}" for _ in range(8))
    return "", draw.choice([four, six, f"2001:db8::{draw.randint(1, 65535):x}:{draw.randint(1, 65535):x}"]), ""


def url(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    token = "".join(draw.choices(string.ascii_lowercase + string.digits, k=12))
    return (
        "",
        draw.choice(
            [
                f"https://anna:{token}@git.example.com/app",
                f"https://example.com/pay?id=7&token={token}",
                f"postgresql://app:{token}@db.example.com/main",
            ]
        ),
        "",
    )


def passport(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    before = draw.choice(["护照号码：", "护照", "我的护照号是"] if chinese else ["passport ", "passport number ", "my passport no. "])
    return before, draw.choice(["E" + digits(draw, 8), "EA" + digits(draw, 7), digits(draw, 9), "G" + digits(draw, 8)]), ""


def chinese_id(draw: random.Random) -> str:
    """A Chinese identity number (GB 11643)."""
    body = (
        draw.choice(["110101", "310115", "440305", "330106", "510107"])
        + f"{draw.randint(1950, 2010)}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}"
        + digits(draw, 3)
    )
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(char) * weight for char, weight in zip(body, weights, strict=True)) % 11]


def national_id(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    if chinese:
        return draw.choice(["", "身份证"]), draw.choice([chinese_id(draw), grouped(draw, chinese_id(draw), (6, 8))]), ""
    number = draw.randint(1, 99_999_999)
    spanish = f"{number:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"
    american = f"{draw.randint(101, 665)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"
    british = f"{draw.choice(['AB', 'CE', 'JT', 'WM'])} {digits(draw, 2)} {digits(draw, 2)} {digits(draw, 2)} {draw.choice('ABCD')}"
    return "", draw.choice([spanish, american, british, british.replace(" ", "")]), ""


def plate(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    city = draw.choice("京沪粤苏浙川鄂") + draw.choice("ABCDEF")
    plain = draw.choice("ABCDEFGHJK") + digits(draw, 4)
    return "", city + draw.choice(["", "·", " "]) + draw.choice([plain, digits(draw, 5), "D" + digits(draw, 5), digits(draw, 5) + "F"]), ""


def person(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    if chinese:
        name = draw.choice(SURNAMES) + draw.choice(GIVEN)
        return draw.choice([("请联系", name, draw.choice(TITLES)), ("，我叫", name, "，"), ("姓名：", name, "，")])
    name = draw.choice([draw.choice(LAST), f"{draw.choice(FIRST)} {draw.choice(LAST)}"])
    return draw.choice(["Mr. ", "Mrs ", "Dr. ", "Ms. ", "my name is "]), name, ","


def address(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    if chinese:
        return (
            draw.choice(["，地址是", "寄到", "，住在"]),
            f"{draw.choice(ROADS)}{draw.randint(1, 900)}号{draw.choice(['', f'{draw.randint(1, 20)}栋{draw.randint(101, 2500)}室'])}",
            "，",
        )
    place = f"{draw.randint(1, 990)} {draw.choice(STREETS)}"
    return "", draw.choice([place, f"{place}, {draw.choice(TOWNS)}", f"{place}, {draw.choice(TOWNS)}, CA 9{digits(draw, 4)}"]), ","


def secret(draw: random.Random, chinese: bool) -> tuple[str, str, str]:
    letters = "".join(draw.choices(string.ascii_letters + string.digits, k=24))
    before, value = draw.choice(
        [
            ("", "sk-" + letters),
            ("", "ghp_" + letters),
            ("", "AKIA" + letters[:16].upper()),
            ("密码是" if chinese else "password: ", letters[:9] + "7"),
        ]
    )
    return before, value, ""


KINDS: dict[str, tuple[str, Make]] = {
    "mail": ("MAIL", mail), "phone": ("PHONE", phone), "card": ("CARD", card), "iban": ("IBAN", iban), "ip": ("IP", ip),
    "url": ("URL", url), "passport": ("PASSPORT", passport), "national_id": ("ID", national_id), "plate": ("PLATE", plate),
    "person": ("NAME", person),
    "postal_address": ("ADDRESS", address), "secret": ("SECRET", secret),
}  # fmt: skip
CHINESE_ONLY = {"plate"}


def known(draw: random.Random, kind: str) -> tuple[str, str]:
    """A text with a value of this kind, and the value."""
    chinese = kind in CHINESE_ONLY or draw.random() < 0.5
    before, value, after = KINDS[kind][1](draw, chinese)
    if draw.random() < 0.1 and kind in {"phone", "card", "national_id"}:
        value = value.translate(FULL)
    return draw.choice(CHINESE if chinese else ENGLISH).replace("{}", before + value + after), value


def look_alike(draw: random.Random) -> str:
    """A text with numbers and words that are nothing personal."""
    chinese = draw.random() < 0.5
    date = f"{draw.randint(1990, 2030)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    price = f"{draw.randint(1, 9_999_999):,}.{draw.randint(0, 99):02d}"
    order = draw.choice(["20", "SO-", "A", ""]) + digits(draw, draw.randint(6, 15))
    version = ".".join(str(draw.randint(0, 30)) for _ in range(draw.randint(2, 4)))
    clock = f"{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:{draw.randint(0, 59):02d}"
    few, many = draw.randint(2, 90), draw.randint(1000, 9_999_999)
    if chinese:
        options = [
            f"订单号{order}", f"订单{order}", f"价格{price}元", f"￥{price}", f"日期{date}", f"版本{version}", f"v{version}",
            f"{date} {clock}", clock,
            f"第{few}条第{draw.randint(1, 9)}款", f"{few}号线地铁", f"{draw.randint(1, 12)}月{draw.randint(1, 28)}号", f"{many}件",
            f"快递单号SF{digits(draw, 12)}", "人民路上的支行", f"{digits(draw, 2)}.{digits(draw, 2)}%",
        ]  # fmt: skip
    else:
        isbn = f"978-{draw.randint(0, 9)}-{digits(draw, 4)}-{digits(draw, 4)}-{draw.randint(0, 9)}"
        options = [
            f"order {order}", f"order number {order}", f"invoice {order}", f"${price}", f"{price} euros", f"on {date}",
            f"version {version}",
            f"v{version}", f"at {clock}", f"{date} {clock}", f"ISBN {isbn}", f"tracking number 1Z{digits(draw, 16)}", f"{few} Main points",
            f"page {few} of {draw.randint(900, 999)}", f"{few}% of {many}", "the token ring", "this is fine", "std::vector",
        ]  # fmt: skip
    return draw.choice(CHINESE if chinese else ENGLISH).replace("{}", draw.choice(options))


def measure(texts: int) -> dict[str, Any]:
    """Recall, precision and speed."""
    draw, cleaner = random.Random(0), MaskData()
    masker = cleaner.masker
    right, made, masked = Counter[str](), Counter[str](), Counter[str]()
    missed: dict[str, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    all_texts = []
    for place in range(texts):
        kind = list(KINDS)[place % len(KINDS)]
        text, value = known(draw, kind)
        found = masker.record([text])
        label = KINDS[kind][0]
        whole = text.replace(value, f"<{label}_1>") == found.texts[0]
        made[kind] += 1
        right[kind] += whole
        masked.update(found.counts)
        if not whole:
            missed.setdefault(kind, []).append(f"{text} -> {found.texts[0]}")
        all_texts.append(text)
    look_alikes = [look_alike(draw) for _ in range(texts)]
    for text in look_alikes:
        found = masker.record([text])
        masked.update(found.counts)
        for label in found.counts:
            wrong.setdefault(label, []).append(f"{text} -> {found.texts[0]}")
    started = time.perf_counter()
    for text in [*all_texts, *look_alikes]:
        masker.text(text)
    speed = 2 * texts / (time.perf_counter() - started)
    started = time.perf_counter()
    for _ in range(texts):
        masker.text(ENGLISH[0])
    plain = texts / (time.perf_counter() - started)
    kinds = {
        kind: {
            "texts": made[kind],
            "recall": round(right[kind] / made[kind], 4),
            "precision": round(right[kind] / max(1, masked[KINDS[kind][0]]), 4),
        }
        for kind in KINDS
    }
    return {
        "kinds": kinds, "look_alikes": texts, "texts_per_second": round(speed), "texts_per_second_with_nothing_to_mask": round(plain),
        "missed": {kind: found[:5] for kind, found in missed.items()}, "wrong": {kind: found[:5] for kind, found in wrong.items()},
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=10_000)
    found = measure(parser.parse_args().texts)
    print(json.dumps(found, ensure_ascii=False, indent=1))
    for name in ("missed", "wrong"):
        del found[name]
    write_json(OUT, found | measured_here() | code())


if __name__ == "__main__":
    main()
