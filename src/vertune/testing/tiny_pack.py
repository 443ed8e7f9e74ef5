"""Writes a small pack in English and Chinese, and makes a product of it: for tests of what runs products."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import yaml

from vertune.core.artifact import Artifact, Home
from vertune.core.pack import Pack
from vertune.products.live import go_live
from vertune.products.training import train

_PACK = """
app: customer_service
title: {en: Tiny shop, zh: 小店}
languages: [en, zh]
slots: {intents: intents/run.yaml}
error: 0.02
calibration: calibration.csv
documents: [help]
known: [member]
hours: {zone: UTC, week: {mon: ["08:00-18:00"], tue: ["08:00-18:00"], wed: ["08:00-18:00"], thu: ["08:00-18:00"], fri: ["08:00-18:00"]}}
handoff:
  sensitive: {law: {en: [lawyer], zh: [律师]}}
  rules: [{name: gold_returns, when: {member: gold}, intents: [payment]}]
"""  # the data are our own
_ANSWERS = """
- {intent: track_order, title: {en: Where is my parcel, zh: 查快递}}
- intent: returns
  title: {en: Return an item, zh: 退货}
  answers:
    - {text: {en: "Silver members return within 60 days.", zh: "银卡会员 60 天内可退货。"}, when: {member: silver}}
    - {text: {en: "The winter rule: 40 days.", zh: "冬季规定：40 天。"}, valid_from: 2029-11-01, valid_until: 2029-12-31, version: winter}
    - text: {en: ["You can return items within 30 days.", "Items can be returned for 30 days."], zh: "30 天内可以退货。"}
      choices: [{title: {en: Opening hours, zh: 营业时间}, value: "intent:hours"}]
      attachments: [{title: {en: The rules, zh: 规定}, url: /returns}]
- intent: payment
  title: {en: Paying and invoices, zh: 付款和发票}
  answers: [{text: {en: "We take cards, and send invoices by mail.", zh: "支持刷卡，发票用邮件发送。"}}]
- intent: hours
  title: {en: Opening hours, zh: 营业时间}
  answers: [{text: {en: "We are open from 8 to 18, {member} member.", zh: "营业时间 8 点到 18 点。"}}]
- {intent: complaint, title: {en: A complaint, zh: 投诉}, handoff: policy}
"""
_FAQ = """
- id: gift_wrap
  title: {en: Gift wrapping, zh: 礼品包装}
  questions: {en: [Do you wrap presents, Can it be wrapped as a gift], zh: [可以礼品包装吗, 能包成礼物吗]}
  answer: {en: "Yes, gift wrapping costs 2 euros.", zh: "可以，礼品包装两欧元。"}
- id: abroad
  questions: {en: [Do you ship abroad, Do you send to other countries], zh: [可以寄到国外吗, 能发往其他国家吗]}
  answer: {en: "We ship to all of Europe.", zh: "我们寄往欧洲各国。"}
  url: /shipping
"""
_FLOWS = """
timezone: UTC
flows:
  - name: track_order
    title: {en: track an order, zh: 查询物流}
    intents: [track_order]
    slots:
      - {name: order, kind: order_number, pattern: 'AB\\d{4}', title: {en: order number, zh: 订单号},
         ask: {en: "What is your order number?", zh: "请问订单号是多少？"}}
    confirm: {en: "Look up {order}?", zh: "查询 {order}，对吗？"}
    act: {action: track_order, arguments: {number: order}}
    done: {en: "{order}: {status}.", zh: "{order}：{status}。"}
"""
_TESTS = """
conversations:
  - name: an answer
    kind: answer
    turns: [{say: what about return for me, expect: {action: answer, intent: returns}}]
  - name: a person
    kind: person
    turns: [{say: I want to talk to a human, expect: {action: handoff, reasons: [asked_for]}}]
  - name: nothing of ours
    kind: out_of_scope
    turns: [{say: what about football for me, expect: {action: [refuse, clarify, handoff], outside: true}}]
  - name: a flow
    kind: flow
    turns:
      - {say: 我想问包裹现在, expect: {action: ask, intent: track_order}}
      - {say: AB1234, expect: {action: ask, slots: {order: AB1234}}}
      - {say: 是的, expect: {action: act, call: track_order}}
      - {event: acted, result: {ok: true, data: {status: 已发货}}, expect: {action: answer, text: 已发货}}
"""
_HELP = """# Parcels

## Damaged parcels

If a parcel is damaged, take a picture of the box and keep it for a week.

## Lost keys

Keys that were found in the shop are kept at the desk for a month.
"""

_WORDS = {
    "track_order": ("parcel", "delivery", "包裹", "快递"),
    "returns": ("return", "exchange", "退货", "换货"),
    "payment": ("card", "invoice", "付款", "发票"),
    "hours": ("open", "closing", "营业", "几点"),
    "complaint": ("complaint", "compensation", "投诉", "赔偿"),
}
_OUTSIDE = ("weather", "football", "天气", "足球")
_ASKED = ("what about {} {}", "i have a question on {} {}", "tell me of {} {} now", "{} {}", "how is it with {} {}")
_ASKED_ZH = ("{}{}怎么办", "我想问{}{}", "{}{}的事情", "请问{}{}", "关于{}{}呢")
_BESIDE = ("please", "today", "for me", "again")
_BESIDE_ZH = ("问题", "情况", "那边", "现在")


def _asked(words: Sequence[str], beside: int) -> list[str]:
    """Return messages about something; `beside` chooses what stands beside, so that training and labelled messages differ."""
    found = []
    for word in words:
        chinese = not word.isascii()
        forms, others = (_ASKED_ZH, _BESIDE_ZH) if chinese else (_ASKED, _BESIDE)
        found += [form.format(word, others[(place + beside) % len(others)]) for place, form in enumerate(forms)]
    return found


def _mixed() -> list[tuple[str, str]]:
    """Return messages with a word of each of two intents; nothing shows that the last one in the alphabet is meant, so none is sure."""
    intents = list(_WORDS)
    found = []
    for intent, other in zip(intents, [*intents[1:], intents[0]], strict=True):
        for one, two in zip(_WORDS[intent], _WORDS[other], strict=True):
            found.append((f"{one} {two}" if one.isascii() else f"{one}{two}", max(intent, other)))
    return found


def tiny_pack(folder: Path, base: Path | str) -> Pack:
    """Write a small pack in English and Chinese into a folder, and return it; its model is trained on `base` in a second or two.

    It answers `returns`, `payment` and `hours`, begins a flow with `track_order`, and hands `complaint` over.
    """
    rows = [(text, intent) for intent, words in _WORDS.items() for text in _asked(words, 0)]
    labelled = [(text, intent) for intent, words in _WORDS.items() for part in (1, 2, 3) for text in _asked(words, part)]
    labelled += _mixed()
    labelled += [(text, "") for part in (1, 2) for text in _asked(_OUTSIDE, part)]
    run = {
        "name": "tiny-intents", "base": str(base), "task": "classify", "method": "head", "training": {"epochs": 1},
        "compress": {"tolerance": 1}, "data": {"source": "train.csv", "fields": {"text": "text", "label": "intent"}},
    }  # fmt: skip
    files = {"pack.yaml": _PACK, "answers.yaml": _ANSWERS, "faq.yaml": _FAQ, "flows.yaml": _FLOWS, "tests.yaml": _TESTS,
             "intents/run.yaml": yaml.safe_dump(run), "help/parcels.md": _HELP}  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name, table in (("intents/train.csv", rows), ("calibration.csv", labelled)):
        with (folder / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "intent"), *table])
    return Pack(folder)


def tiny_product(home: Home, base: Path | str, folder: Path, name: str = "shop") -> Artifact:
    """Train the product of a small pack, written into `folder`, in a home, and make it live."""
    product = train(tiny_pack(folder, base), name, home).product
    go_live(product, home, None)
    return product
