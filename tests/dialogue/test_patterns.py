"""Patterns of messages, each with messages that have it and messages that only look so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.dialogue.characters import language_of
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import KINDS, read, recognise


def kinds(text: str) -> set[str]:
    return {pattern.kind for pattern in recognise(text)}


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("human", ["a person please", "Let me talk to a human", "I don't want to talk to a bot", "can somebody call me back"]),
        ("human", ["转人工", "我要转人工客服", "找客服", "真人客服呢", "换个人吧", "让你们经理来", "别让机器人回答，叫个人"]),
        ("human", ["human", "HUMAN!!", "humannn", "operator", "supervisor please", "客服", "人 工", "I hate bots, human!"]),
        ("cancel", ["算啦", "abandon this", "let's not", "skip it", "拉倒吧", "终止", "懒得弄了"]),
        ("repeat", ["huh?", "what?", "什么？", "sorry, what was that?", "再問一次", "刚才说的什么"]),
        ("greeting", ["亲", "亲，在吗", "亲你好", "helloooo", "morning", "早啊", "yo"]),
        ("not_that", ["你误会了", "跑题了", "not what I was asking", "that doesn't answer my question", "不是說這個"]),
        ("affirm", ["yesss", "好嘞", "对对对", "👍", "works for me", "没毛病"]),
        ("deny", ["nooo", "absolutely not", "definitely not", "👎", "不太对", "没必要"]),
        ("goodbye", ["88", "886", "ttyl"]),
        ("unsure", ["not sure yet", "I don't know", "no idea", "I'm not sure please", "我不知道", "忘了", "不太确定"]),
        ("small_talk", ["who am I talking to", "你是真人还是机器人", "wait a sec", "brb", "不好意思"]),
        ("cancel", ["cancel", "never mind", "forget it, thanks", "I'd like to think about it first, cancel it", "not now"]),
        ("cancel", ["算了", "不办了", "取消", "我再想想", "改天再说吧"]),
        ("leave", ["先不转了，我再想想", "不买了", "别退了"]),
        ("repeat", ["could you repeat that?", "sorry, what did you say", "再说一遍", "没看清"]),
        ("thanks", ["Thanks!", "thank you so much", "谢谢", "謝謝你", "明白了", "got it, thanks for your help"]),
        ("greeting", ["hi", "Good morning", "你好", "在吗"]),
        ("goodbye", ["bye", "thanks, that's all", "再见"]),
        ("not_that", ["not that", "that's not what I asked", "none of these", "不是这个", "答非所问"]),
        ("angry", ["this is ridiculous", "WHERE IS MY MONEY!!!", "垃圾客服", "气死我了"]),
        ("human", ["get me somebody who can help", "who can I speak to about this", "有人在吗", "可以請專人聯絡我嗎"]),
        ("cancel", ["不辦了", "懶得弄了", "dont bother", "打住"]),
        ("leave", ["I'd rather keep it", "ill keep them then"]),
        ("angry", ["how many times do I have to say it", "that's the third time I'm asking", "都问了三遍了", "说了多少遍了"]),
        ("human", ["can someone phone me about it", "I want to be contacted by someone from your team"]),
        ("angry", ["I've explained this five times", "you should be ashamed", "效率也太低了吧！！！", "到底还发不发货了！！！"]),
        ("angry", ["three weeks and still nothing!!!", "等了半个月了！！！还没到！！！"]),
        ("thanks", ["感恩"]),
        ("affirm", ["yes", "ok", "好的", "对"]),
        ("deny", ["no", "nope", "不", "不对"]),
        ("small_talk", ["who are you?", "你是机器人吗", "Are you a real person?", "tell me a joke"]),
    ],
)
def test_patterns_are_recognised(kind: str, texts: list[str]) -> None:
    assert [text for text in texts if kind not in kinds(text)] == []


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("human", ["人工智能是什么", "can I send money to a person abroad", "are you a human?", "不要转人工", "I don't want a human"]),
        ("human", ["是人工审核吗", "不用转人工了", "个人的", "a person", "are you human?", "for my agent number 5"]),
        ("cancel", ["please don't cancel it", "别取消", "我取消不了", "我算了一下一共三百"]),
        ("repeat", ["what is that", "what's my balance", "什么时候发货"]),
        ("greeting", ["亲水湾小区", "tomorrow morning", "早点发货"]),
        ("not_that", ["I'd like something else to drink", "not that I know of", "neither card works", "是不是这个意思"]),
        ("angry", ["I'm not angry", "别生气"]),
        ("human", ["人工客服几点上班", "我刚才跟人工说过了", "人工客服昨天说会补发", "what are your live chat hours"]),
        ("angry", ["great service!!!", "还不错！！！", "how many times can I change it", "my third time ordering here"]),
        ("affirm", ["correct my address", "I'm fine"]),
        ("deny", ["no issue", "没错"]),
        ("affirm", ["对了，你们几点下班", "absolutely not", "certainly not", "please do not do that"]),
        ("unsure", ["I don't know how to return my order", "你知不知道", "我的卡找不到了怎么办"]),
        ("cancel", ["为什么付不了款", "我登不了了", "cancel my order", "how do I cancel it?", "cancel that transfer", "取消订单"]),
        ("angry", ["how do I block junk mail", "垃圾短信怎么屏蔽", "where is my money"]),
        ("affirm", ["is it ok to pay by card", "我的银行卡", "你好啊"]),
        ("deny", ["I have no card", "没有收到货"]),
        ("greeting", ["which city", "我亲自去"]),
        ("goodbye", ["礼拜一", "建国路88号"]),
        ("small_talk", ["my card is awesome", "how can you help me change my PIN"]),
    ],
)
def test_what_only_looks_like_a_pattern_is_none(kind: str, texts: list[str]) -> None:
    assert [text for text in texts if kind in kinds(text)] == []


@pytest.mark.parametrize(
    ("text", "rest", "rejected"),
    [
        ("I don't want to cancel my order, I want to return it", "I want to return it", "cancel my order"),
        ("No, I don't want a refund but a replacement", "a replacement", "refund"),
        ("I want a refund instead of a voucher", "I want a refund", "a voucher"),
        ("it's not about the fee, it's about the exchange rate", "it's about the exchange rate", "the fee"),
        ("I don't need a new card. My PIN is blocked.", "My PIN is blocked", "new card"),
        ("don't send it, just refund me", "just refund me", "send it"),
        ("I am not asking about delivery", "", "delivery"),
        ("我不是要退货，我要换货", "我要换货", "退货"),
        ("我不是要退货是要换货", "是要换货", "退货"),
        ("不要取消订单，改一下地址", "改一下地址", "取消订单"),
        ("我不想退款，想换一个", "想换一个", "退款"),
        ("不是余额，是利率", "是利率", "余额"),
        ("no refund please, send a new one", "send a new one", "refund"),
        ("no refund, just send me a new one", "just send me a new one", "refund"),
        ("I didn't mean cancel, I meant change the size", "I meant change the size", "cancel"),
        ("rather than cancel the order can I change it", "can I change it", "cancel the order"),
        ("instead of a refund I'd like store credit", "I'd like store credit", "a refund"),
        ("no i didn't ask for a refund i asked where my parcel is", "i asked where my parcel is", "a refund"),
        ("i am not asking about delivery i am asking about refund", "i am asking about refund", "delivery"),
        ("我要换货不要退货", "我要换货", "退货"),
        ("我沒有要取消，只是想改地址", "只是想改地址", "取消"),
        ("与其退货不如换一个", "不如换一个", "退货"),
    ],
)
def test_what_is_negated_is_set_apart(text: str, rest: str, rejected: str) -> None:
    reading = read(text)
    assert (reading.rest, reading.rejected) == (rest, (rejected,))


@pytest.mark.parametrize(
    "text",
    [
        "I don't want my card any more", "my card doesn't work", "I never received my card",
        "why was I charged twice?", "我没收到货", "是不是要收费",
        "我要不要退货", "没有要求", "想要没有色差的",
        "我不是已经付款了吗", "这件衣服我不想要了", "Isn't my transfer done yet?", "要不要手续费",
    ],
)  # fmt: skip
def test_other_negations_stay_what_they_are(text: str) -> None:
    reading = read(text)
    assert reading.rejected == ()
    assert reading.rest == text


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("Hello, where is my card? And how do I activate it?", ("where is my card", "how do I activate it")),
        ("I'd like to change my address and also check my balance", ("I'd like to change my address", "check my balance")),
        ("查余额，另外改手机号", ("查余额", "改手机号")),
        ("我想查一下物流还有能不能开发票", ("我想查一下物流", "能不能开发票")),
        ("查一下余额然后转500给张伟", ("查一下余额", "转500给张伟")),
        ("cancel my order and refund me", ("cancel my order", "refund me")),
        ("when does it ship & how much is shipping?", ("when does it ship", "how much is shipping")),
        ("my husband and I share an account", ()),
        ("return and refund policy", ()),
        ("salt and pepper", ()),
        ("Where is my card?", ()),
    ],
)
def test_messages_are_split_where_another_wish_may_begin(text: str, wishes: tuple[str, ...]) -> None:
    assert read(text).wishes == wishes


@pytest.mark.parametrize(
    "text", ["hi", "谢谢", "人工", "cancel", "not that", "ok", "算了", "you are useless!!!", "please", "", "  ", "???"]
)
def test_nothing_is_left_of_a_message_that_is_only_a_pattern(text: str) -> None:
    assert read(text).rest == ""


def test_courtesy_around_a_wish_is_left_out() -> None:
    assert read("你好，请问一下怎么退货？谢谢").rest == "怎么退货？"
    assert read("Hi there, could you please block my card, thanks!").rest == "block my card"


def test_words_of_a_pack_join_the_built_in_ones() -> None:
    pack = Lexicon.model_validate(
        {
            "angry": {"en": ["gosh"]},
            "sensitive": {"bereavement": {"en": ["passed away"], "zh": ["去世"]}},
            "small_talk": {"shop": {"en": ["nice shop"]}},
        }
    )
    reading = read("gosh, my father passed away, this is ridiculous", pack.merged())
    assert {(pattern.kind, pattern.name) for pattern in reading.patterns} == {("angry", ""), ("sensitive", "bereavement")}
    assert read("nice shop", pack.merged()).named("small_talk") == "shop"
    assert read("who are you", pack.merged()).named("small_talk") == "who_are_you"
    assert not read("gosh").patterns


def test_words_inside_longer_ones_that_mean_something_else_do_not_count() -> None:
    pack = Lexicon.model_validate({"human": {"words": {"en": ["desk"]}, "unless": {"en": ["desk lamp"]}}})
    assert [place.start for place in pack.find("human", "desk lamp or desk")] == [13]
    assert [place.start for place in pack.find("human", "desktop")] == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is my card", "en"),
        ("我的卡在哪", "zh"),
        ("我的 iPhone 呢", "zh"),
        ("123 !?", None),
        ("卡 card card", "en"),
        ("how to use 支付宝", "en"),
        ("Do you ship to 上海市浦东新区?", "en"),
        ("请问 Harbour Bank Platinum Card 年费", "zh"),
        ("我要 change my delivery address", "zh"),
        ("where is 我的快递", "en"),
        ("refund refund refund 快点", "zh"),
        ("a@b.com", None),
        ("ｈｅｌｌｏ", "en"),
        ("iPhone 15 Pro Max 256GB 有货吗", "zh"),
    ],
)
def test_the_language_is_that_of_most_of_the_text(text: str, language: str | None) -> None:
    assert language_of(text) == language


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_any_text_can_be_read(text: str) -> None:
    reading = read(text)
    assert all(pattern.kind in KINDS and 0 <= pattern.start < pattern.end <= len(text) for pattern in reading.patterns)
    assert len(reading.rest) <= len(text)
    assert len(reading.wishes) != 1


def test_a_flood_is_read_quickly() -> None:
    for flood in ("I don't want ", "and how ", "不是" * 5, "!", "hi ", "not that, ", "a" * 9 + " "):
        assert len(read(flood * 400).rest) <= 2_000
