"""What each mask finds, and what looks alike and must stay."""

from __future__ import annotations

import pytest

from vertune.core.errors import ConfigError, MissingExtra
from vertune.core.kinds import Mask
from vertune.core.parse import build
from vertune.masking import Masker, plain

FOUND = {
    "mail": ["a.b@c-d.io", "o'neill+x@example.co.uk", "WANG_fang@qq.com"],
    "card": ["5555555555554444", "3782 822463 10005", "6222-0212-3456-7890-128", "4222222222222"],
    "iban": ["FR14 2004 1010 0505 0001 3M02 606", "nl91abna0417164300"],
    "ip": ["10.0.0.7", "192.168.1.0/24", "fe80::1ff:fe23:4567:890a"],
    "url": ["ftp://u:p4ss@host/x", "https://x.test/a?session=deadbeef01"],
    "plate": ["粤B·D12345", "京A1234学", "沪ADB1234"],
    "phone": ["+33 1 42 68 53 00", "0086 138 1234 5678", "021-65529988", "415-736-5000", "07400 123456"],
    "national_id": ["110101199003078558", "110101 19900307 8558", "AB123456C", "12345678Z", "X1234567L", "RSSMRA85T10A562S"],
    "passport": ["passport EA1234567", "护照号是G12345678"],
    "person": ["Dr. Li", "Mrs van der Berg", "欧阳老师", "姓名：赵敏"],
    "postal_address": ["12 Old Kent Road, London SE1 5UF", "350 5th Avenue, New York, NY 10118", "北京市海淀区中关村大街27号1101室",
                       "人民路12弄3号"],
    "secret": ["Bearer abcdef0123456789abcd", "api_key=Zx81kQ77Lm", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "密码：P@ssw0rd99"],
    "regex": ["CT-123456"],
}  # fmt: skip
KEPT = {
    "mail": ["@here", "a@b", "5 @ 3.50"],
    "card": ["4111111111111112", "1234 5678 9012 3452", "order number 4111111111111111", "9999999999999995"],
    "iban": ["DE89 3704 0044 0532 0130 01", "XX12 3456 7890 1234", "AB12CD"],
    "ip": ["version 10.0.0.7", "v1.2.3.4", "256.1.1.1", "12:30:45", "std::vector", "1.2.3", "升级到10.2.0.1"],
    "url": ["https://example.com/a?id=7", "see http://x.test/page:80"],
    "plate": ["京东A1234567", "川菜D12", "新年ABC"],
    "phone": ["2024-01-15", "20240115", "1,234,567.89", "订单号13812345678", "3.1415926535", "12:30-14:45", "10 000 000"],
    "national_id": ["110101199003078559", "12345678A", "order 536-90-4399", "123456789", "36574261809"],
    "passport": ["E12345678", "passport photos cost 12"],
    "person": ["Mr. The", "总共两件", "王府井大街", "this is fine"],
    "postal_address": ["2 Main points", "12月3号", "路上有3号线", "page 5 of 9 Way"],
    "secret": ["password reset", "the token ring", "key question", "忘记密码了"],
    "regex": ["CT-12"],
}


def cases(texts: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, text) for kind, all_texts in texts.items() for text in all_texts]


@pytest.mark.parametrize(("kind", "text"), cases(FOUND))
@pytest.mark.parametrize("around", ["{}", "see {}.", "请看{}，谢谢"])
def test_what_is_found(kind, text, around):
    mask = build(Mask, kind)
    assert f"<{mask.shown}_1>" in Masker([mask]).text(around.replace("{}", text))


@pytest.mark.parametrize(("kind", "text"), cases(KEPT))
def test_what_stays(kind, text):
    assert Masker([build(Mask, kind)]).text(f"so {text} now") == f"so {text} now"


def test_all_kinds_are_tried() -> None:
    from vertune.core import part

    assert set(FOUND) == set(KEPT) == set(part.names("masks"))


@pytest.mark.parametrize("char", ["(", "[a-", "a*", "|x"])
def test_an_expression_that_cannot_be_used_is_refused(char):
    with pytest.raises(ConfigError, match="expression"):
        build(Mask, {"name": "regex", "expression": char})


def test_the_group_of_an_expression_is_what_is_masked() -> None:
    mask = build(Mask, {"name": "regex", "kind": "CONTRACT", "expression": r"contract (\d+)"})
    assert Masker([mask]).text("my contract 77 and 78") == "my contract <CONTRACT_1> and 78"


@pytest.mark.parametrize(
    ("kind", "text", "package"), [("phone", "call 415-736-5000", "phonenumbers"), ("national_id", "SSN 536-90-4399", "python-stdnum")]
)
def test_a_missing_package_is_named(kind, text, package, monkeypatch):
    import sys

    from vertune.masks import national_id, phone

    for module in ("phonenumbers", "stdnum.us.ssn"):
        monkeypatch.setitem(sys.modules, module, None)
    national_id._is_valid.cache_clear()
    phone._is_valid.cache_clear()
    with pytest.raises(MissingExtra, match=rf"{package}.*vertune\[mask\]"):
        Masker([build(Mask, kind)]).text(text)


def test_other_forms_of_digits_and_dashes_keep_positions() -> None:
    text = "１３８\u3000１２３４－５６７８ ٤٥ 𝟜 “x” ，。！"
    assert plain(text) == "138 1234-5678 45 𝟜 “x” ，。！"
    assert len(plain(text)) == len(text)
