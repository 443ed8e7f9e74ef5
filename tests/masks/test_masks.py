"""What each mask finds, and what looks alike and must stay."""

from __future__ import annotations

import pytest

from vertune.core.errors import ConfigError, MissingExtra
from vertune.core.kinds import Mask
from vertune.core.parse import build
from vertune.masking import Masker, plain

FOUND = {
    "mail": ["a.b@c-d.io", "o'neill+x@example.co.uk", "WANG_fang@qq.com", "wang＠example.cn", "josé@müller.de"],
    "card": ["5555555555554444", "3782 822463 10005", "6222-0212-3456-7890-128", "4222222222222", "6222.0212.3456.7890.128",
             "4539  1488  0343  6467", "4539 - 1488 - 0343 - 6467"],
    "iban": ["FR14 2004 1010 0505 0001 3M02 606", "nl91abna0417164300", "IBANDE89370400440532013000",
             "DE89-3704-0044-0532-0130-00", "ＤＥ８９３７０４００４４０５３２０１３０００"],
    "ip": ["10.0.0.7", "192.168.1.0/24", "fe80::1ff:fe23:4567:890a", "IP10.0.0.7", "地址：2001:DB8:0:21F1::692F",
           "::ffff:203.0.113.77", "http://10.0.0.7:80"],
    "url": ["ftp://u:p4ss@host/x", "https://x.test/a?session=deadbeef01", "https://x.test/a#access_token=deadbeef01",
            "https://x.test/a?client_secret=deadbeef01", "https://x.test/a?X-Amz-Signature=deadbeef01",
            "https://hooks.slack.com/services/T0AB/B0CD/e5Fg7Hi9"],
    "plate": ["粤B·D12345", "京A1234学", "沪ADB1234", "京A‧12345", "沪AB12345", "苏E・A12345", "川A12345F"],
    "phone": ["+33 1 42 68 53 00", "0086 138 1234 5678", "021-65529988", "415-736-5000", "07400 123456", "（+86）13812345678",
              "(138 1234 5678)", "138.1234.5678", "1381-2345-678", "TEL13812345678", "86-13812345678", "010—65529988",
              "212/736-5000", "(212)736-5000", "07400-123456", "text me on 2127365000", "(+44) 7400 123456"],
    "national_id": ["110101199003078558", "110101 19900307 8558", "AB123456C", "12345678Z", "X1234567L", "RSSMRA85T10A562S",
                    "ID110101199003078558", "SSN 536 90 4399", "AB.12.34.56.C", "12.345.678-Z",
                    "codice fiscale RSS MRA 85T10 A562S", "身份证110101900307855"],
    "passport": ["passport EA1234567", "护照号是G12345678", "passport no E12 345 678", "passport number 533 380 006",
                 "passport C01X0FTK7", "E12345678是我的护照号"],
    "person": ["Dr. Li", "Mrs van der Berg", "欧阳老师", "姓名：赵敏", "请转告尹文静小姐", "免贵姓鲍", "姓名：迪丽热巴·迪力木拉提",
               "姓名：Anna Smith", "我叫陈平在上海", "Mr. A. K. Núñez", "MR O'NEILL", "Prof. Dr. Kim",
               "my full name is Łukasz Kim"],
    "postal_address": ["12 Old Kent Road, London SE1 5UF", "350 5th Avenue, New York, NY 10118", "北京市海淀区中关村大街27号1101室",
                       "人民路12弄3号", "1600 Main Street NW", "上海市徐汇区学院路410弄58号788室", "学院路28号财富广场12层1203室",
                       "北京市朝阳区 建国路 120 号", "杭州市西湖区阳光小区3号楼4单元2056室"],
    "secret": ["Bearer abcdef0123456789abcd", "api_key=Zx81kQ77Lm", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "密码：P@ssw0rd99",
               "github_pat_11ABCDEFG0abcdefghij_K", "hvs.CAESIJ1234567890abcdefXY", "dckr_pat_abcdefghij1234567890",
               "1234567890:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1", "bearer 03296d21c1de1ed22c87", "密码改成了A1b2C3d4",
               "登录密码abc12345", "GITHUB_TOKEN=kCbXaETYGz12"],
    "regex": ["CT-123456"],
}  # fmt: skip
KEPT = {
    "mail": ["@here", "a@b", "5 @ 3.50", "lodash@4.17.21", "https://x.test/@anna/a"],
    "card": [
        "4111111111111112",
        "1234 5678 9012 3452",
        "order number 4111111111111111",
        "9999999999999995",
        "50 767 145 87 62",
        "barcode 5091511716551",
    ],
    "iban": ["DE89 3704 0044 0532 0130 01", "XX12 3456 7890 1234", "AB12CD"],
    "ip": [
        "version 10.0.0.7",
        "v1.2.3.4",
        "256.1.1.1",
        "12:30:45",
        "std::vector",
        "1.2.3",
        "升级到10.2.0.1",
        "section 9.3.12.9",
        "第11.5.7.9节",
        "Chrome/119.0.0.0",
        "iOS 12.12.9.3",
    ],
    "url": [
        "https://example.com/a?id=7",
        "see http://x.test/page:80",
        "https://x.test/a?keyword=token",
        "https://x.test/api-key.html#token",
    ],
    "plate": ["京东A1234567", "川菜D12", "新年ABC"],
    "phone": [
        "2024-01-15",
        "20240115",
        "1,234,567.89",
        "订单号13812345678",
        "3.1415926535",
        "12:30-14:45",
        "10 000 000",
        "开奖号码25 24 01 31 41 02 40",
        "189.217.124.43",
        "claim 18460485912",
    ],
    "national_id": [
        "110101199003078559",
        "12345678A",
        "order 536-90-4399",
        "123456789",
        "36574261809",
        "Order ID: 15098870346",
        "https://x.test/a?id=113062989166",
    ],
    "passport": ["E12345678", "passport photos cost 12", "passport valid until 20300501"],
    "person": [
        "Mr. The",
        "总共两件",
        "王府井大街",
        "this is fine",
        "谢谢老师",
        "基金经理",
        "由于经理不在",
        "任何医生",
        "上周经理说过",
        "白色女士毛衣",
        "包送到总台",
        "我是苏北人",
        "我叫高铁",
        "Dr. Martens boots",
        "I Miss My phone",
        "Product name: Blue Chair",
        "MS OFFICE",
        "as signed PDF files",
        "姓名：必填",
    ],
    "postal_address": [
        "2 Main points",
        "12月3号",
        "路上有3号线",
        "page 5 of 9 Way",
        "我知道15号发货",
        "思路1号",
        "频道8号",
        "公路10号线",
        "弯道3号",
        "3 Hard Drive errors",
        "100 Wall Street firms",
        "24 Hour Drive-thru",
    ],
    "secret": [
        "password reset",
        "the token ring",
        "key question",
        "忘记密码了",
        "**password protected**",
        "password expired!",
        "password is case-sensitive!",
        "basic understanding-of-this",
    ],
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


@pytest.mark.parametrize(
    ("kind", "text", "masked"),
    [
        ("mail", "'anna@example.com'", "'<MAIL_1>'"),
        ("mail", "**anna@example.com**", "**<MAIL_1>**"),
        ("mail", "to=anna@example.com", "to=<MAIL_1>"),
        ("card", "4539 1488 0343 6467 456 09/27", "<CARD_1> 456 09/27"),
        ("phone", "138-1234-5678 139-1234-5678", "<PHONE_1> <PHONE_2>"),
        ("phone", "电话13812345678/13912345678", "电话<PHONE_1>/<PHONE_2>"),
        ("phone", "(212) 736-5000 ext. 468", "<PHONE_1>"),
        ("phone", "025-25691615-3608", "<PHONE_1>"),
        ("phone", "(305) 836-1714 ext 091 (305) 836-1714 ext 091", "<PHONE_1> <PHONE_1>"),
        ("card", "371961824108538 371961824108538", "<CARD_1> <CARD_1>"),
        ("person", "Beneficiary name: Anna Smith, file name: Report", "Beneficiary name: <NAME_1>, file name: Report"),
        ("phone", "010-65529988转8001", "<PHONE_1>"),
        ("url", "`https://x.test/a?token=deadbeef01`", "`<URL_1>`"),
        ("secret", "**token glpat-rN0NdK4CaoHi0ysefD33**", "**token <SECRET_1>**"),
        ("person", "我是柯先生，", "我是<NAME_1>先生，"),
        ("person", "安排王老师", "安排王老师"),
        ("person", "请安排找王老师", "请安排找<NAME_1>老师"),
        ("postal_address", "他发来学院路295号6栋3单元1948号，", "他发来<ADDRESS_1>，"),
    ],
)
def test_exactly_the_value_is_masked(kind, text, masked):
    assert Masker([build(Mask, kind)]).text(text) == masked


def test_the_longest_match_among_all_masks_counts() -> None:
    from vertune.masking import standard_masker

    assert standard_masker().text("ip 139.155.108.46") == "ip <IP_1>"
    assert standard_masker().text("打开https://x.test/a#access_token=deadbeef01，") == "打开<URL_1>，"


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
