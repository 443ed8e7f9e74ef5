"""What a reply to the question whether all is right says: yes, no, or neither of both; keeps no state and acts on nothing.

Acting on a message that did not want it is worse than asking again. So a yes counts only if nothing in the message takes it back.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vertune.dialogue.characters import any_of, blanked, plain
from vertune.dialogue.entities.choices import said, yes_no
from vertune.dialogue.entities.found import Options
from vertune.dialogue.flows import Flow
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import Reading, means_something

QUESTION = re.compile(r"[?？]\s*$|[吗么]\W*$")
"""How a plain text ends that asks."""
_DOUBTS = re.compile(
    r"\s*[?？]|[\s,，]*(?:or\s+(?:no|not|maybe)|but|though|however|if|wait|hold\s+on|hang\s+on|nope|maybe|the\s+other|another|and\s+no"
    r"|after|before|once|when|until|unless|what\s+about|never\s?mind|forget|bye|later"
    r"|no(?!\s+(?:problem|worries|doubt)))(?![a-z])|[\s,，了啊呀嘛]*(?:但|不过|可是|只是|还是不|先别|先不|先等|别|等|稍等|是?另|不[^客错过好]|算了|再说|是(?:可以|行)|一?下)"
)
"""What follows a yes that is none."""
_CONDITION = re.compile(r"(?<![a-z])(?:if|unless|as long as|provided)(?![a-z])|如果|要是|假如|的话|除非|只要")
_LIMITED = re.compile(
    r"(?<![a-z])(?:but|though|although|however|except|until|instead|keep|keeping|only|partly|(?:one|part|half|some)\s+of|half"
    r"|maybe|perhaps|probably|later|tomorrow|tonight|next\s+(?:week|month|year))(?![a-z])|(?<![a-z])first\s*(?:$|[,.!])"
    r"|(?<![a-z])(?:let\s+me|i'?ll|i\s+will|i\s+(?:need|have|want)\s+to|i\s+must)\s+(?:just\s+)?"
    r"(?:check|ask|see|think|look|talk|speak|call|verify|wait|read|find)(?![a-z])"
    r"|但(?!愿)|不过|可是|只(?![好能需])|除了|其中|部分|一半|先(?![生前])|留着|保留|(?<!请)问(?=问|一?下|过)|商量|想想|考虑|再[说看想定]"
    r"|另[一外]?[个张笔件]|可能|也许|改[天日]|明天|后天|以后|晚点|到时|下(?:个?月|周|星期|礼拜|次)"
)
"""What makes a yes one to a part, to something else, or to a later time, wherever it stands."""
_NEGATION = re.compile(
    r"(?<![a-z])(?:can|could|would|will|should|must|is|are|was|did|does|has|have|had|wo|ca)(?:n'?t|\s?not)(?![a-z])"
    r"|不(?![好错客久断])|没(?!(?:有)?(?:什么|其[他它]|别的|啥)?(?:问题|事|意见|异议|毛病|错|关系))|别(?![的人处])|甭|勿"
)
"""What negates something behind a yes."""
_CLAUSE = re.compile(r"[^,.;!?，。；！？\n]+[?？]?")
_ASKS = re.compile(
    r"[?？吗呢]|什么|怎么|多少|多久|哪|几|^\s*(?:(?:and|so|about|also)\s+)*"
    r"(?:how|what|when|where|which|who|why|will|would|is|are|do|does|can|could|should)(?![a-z])"
)
"""A clause that asks, which leaves a yes a yes: `that's right. How long will it take?`"""
_ASSENT = re.compile(
    r"(?<![a-z])(?:i'?[md]|it'?s|that'?s|thats|all|everything|both|them|these|those|good|great|perfect|lovely|nice|cool|happy|glad|best|true|whatever"
    r"|works?|sounds?|looks?|seems?|would|go|going|ahead|on|process|proceed|submit|send|make|complete|finish|sort|put|through|same|needful|way"
    r"|plan|one|idea|what|why|not|of|course|no|problem|worries|issues?|doubt|trouble|rush|at|quick|soon|fast|right|mate|madam|ma'?am|bro|buddy|friend|folks|man|too"
    r"|always|totally|very|really|indeed|absolutely|definitely|certainly|hmm+|ah+|haha|lol|na|lah|if|said|say|checking|asking|confirming|for|with)(?![a-z])"
    r"|信息|内容|资料|[张笔件份单条个你您我咱们喔唷哟哦噢哩呗呐嘞哒滴咯哈嘿呵都全就这那样么个很太真挺蛮得着地给帮办弄做搞掉好对行是嗯无误没错有问题意见放心辛苦感恩客气亲尽快急速赶紧]"
)
"""What may stand beside a yes: assent, politeness, urgency, and words that say nothing."""
_BESIDE = ("affirm", "courtesy", "thanks", "greeting", "goodbye")
_MODAL = frozenset({"可以", "可", "要", "需要", "是", "行", "对", "好", "确定", "确认", "必须", "继续", "提交"})
"""Words for yes that are also verbs of questions."""
_MODAL_ASKS = re.compile(r"(?=[^\W\da-z_])[^，。,.!！;；\n]*(?:什么|怎么|多少|多久|哪|几|谁|为何|[?？吗么呢]\s*(?:$|[，。,.]))")
"""How a word for yes goes on that begins a question: 可以…吗."""
_INVERTED = re.compile(r"(?<![a-z])(?:can|could|do|does|did|will|would|should|shall|may|have|has)\s+(?:you|i|we|it|they|he|she)(?![a-z])")
_LEADS_IN = re.compile(
    r"(?<![a-z])(?:everything|all\s+of\s+(?:it|them)|i'?m|it'?s|details?|info|information|data|both|these|those|they|seems?|looks?|are|i\s+(?:already\s+)?said"
    r"|no\s+(?:problem|worries|issues?|objections?|need\s+to\s+ask))(?![a-z])|信息|内容|资料|全部|所有|以上|上面|上述|一切|没问题"
)
"""What may stand in front of a yes, besides words that say nothing: `everything is correct`."""
_CANCELLING = re.compile(
    r"(?<![a-z])(?P<verb>cancel|stop|abort|quit|revoke|undo|withdraw)(?:l?(?:ed|ing|ation)|s)?(?![a-z])|取消|撤销|撤回|终止|中止|停止|作废"
)
_SHORTEST_VERB = 4
"""Letters of a verb of other phrases, such as `reverse it`; `i changed my mind` begins with none."""
_TITLE_WORD = re.compile(r"[a-z']{3,}|[\u3400-\u9fff]+")
_URGING = re.compile(
    r"(?<![a-z])(?:please|just|then|now|it|this|that|the|my|immediately|right away|at once|asap|quickly|already|so|a|an|for me)(?![a-z])"
    r"|马上|赶紧|赶快|立即|立刻|尽快|快点|那就|帮我|给我|现在|直接|快|就|请|把|它|吧|了|啊|呀|我要|要"
)
"""What may stand beside a wish that is repeated."""
_ASKED_TO_DO = re.compile(r"\W*(?P<verb>[\u3400-\u9fff])吧\W*")
"""A verb of one character with the particle of requests: 退吧."""
_REQUEST = re.compile(r"^(?:(?:request|ask\s+for|to|an?|the)\s+)+|^(?:申请|办理|请求|我要|帮我)+")
"""What may stand in front of the verb of a title."""


class Answer(NamedTuple):
    """What a reply to a confirmation says."""

    value: bool | None
    """Yes or no; None for a yes that asks, has a condition or is taken back, and for anything else."""
    begins: bool = False
    """Whether the reply begins with it."""


def answer(text: str, reading: Reading, lexicon: Lexicon, flow: Flow) -> Answer:
    """Return what a reply to the question whether a flow may act says; `reading` is what `patterns.read` returned for it.

    `okay, cancel` and 是的，取消吧 are a yes where the flow cancels something by itself, and nowhere else.
    """
    folded = plain(text)
    found = next(yes_no(folded, 0.0, Options(asked=True, lexicon=lexicon)), None)
    if found is None:
        return Answer(None)
    before, after = folded[: found.start], folded[found.end :]
    begins = not any(map(str.isalnum, before))
    if not found.value:
        return Answer(None if reading.has("unsure") else False, begins)
    asks = _DOUBTS.match(after) or (found.raw in _MODAL and _MODAL_ASKS.match(after)) or (not begins and QUESTION.search(folded))
    if asks or _CONDITION.search(folded) or not (begins or _leads_in(before, lexicon, flow)):
        return Answer(None, begins)
    if any(not value and match.start() >= found.end for match, value in said(folded, lexicon)):
        return Answer(False, begins)
    if not _is_explained(after, lexicon, flow):
        return Answer(None, begins)
    doubtful = _LIMITED.search(after) or _NEGATION.search(after) or lexicon.find("unsure", folded) or lexicon.waits(after)
    return Answer(None if doubtful or takes_back(folded, lexicon, flow) else True, begins)


def repeats_wish(text: str, flow: Flow) -> bool:
    """Return whether a reply says again, and nothing else, what the flow does, as `block it` or 马上挂失 do."""
    folded = plain(text)
    asked = _ASKED_TO_DO.fullmatch(folded)
    if asked and any(asked["verb"] in plain(title) for title in flow.title.values()):
        return True
    words = _title_words(flow)
    repeated = _TITLE_WORD.findall(_URGING.sub(" ", folded))
    if not repeated or QUESTION.search(folded):
        return False
    return all(any(one == word or _is_part(one, word) for word in words) for one in repeated)


def without_yes(folded: str, lexicon: Lexicon) -> str:
    """Return a plain text without the words for yes with which it begins."""
    while found := next((one for one in lexicon.affirm.matches(folded) if not any(map(str.isalnum, folded[: one.start()]))), None):
        folded = folded[found.end() :]
    return folded.lstrip(" ,.!;，。！；、")


def takes_back(folded: str, lexicon: Lexicon, flow: Flow) -> bool:
    """Return whether a plain text says to cancel, to stop or to leave something, other than what the flow does by itself."""
    verbs = [match["verb"] or match.group() for match in _CANCELLING.finditer(folded)]
    if any(not does(flow, verb) for verb in verbs):
        return True
    phrases = [folded[one.start : one.end] for kind in ("cancel", "leave") for one in lexicon.find(kind, folded)]
    return any(not _CANCELLING.search(phrase) and not does(flow, phrase) for phrase in phrases)


def does(flow: Flow, said: str) -> bool:
    """Return whether a verb for cancelling, or a phrase with one, says what a flow does by itself: `cancel` where it cancels an order.

    The verb begins or ends the name of the flow or of its action, or its title. One that says what is cancelled already doesn't count,
    and neither does one that another such verb undoes.
    """
    found = _CANCELLING.search(said)
    verb = (found["verb"] or found.group()) if found else said.split()[0]
    if not found and len(verb) < _SHORTEST_VERB and verb.isascii():
        return False
    return any(_is_verb_of(_REQUEST.sub("", name), verb) for name in [*map(plain, flow.title.values()), *_names_in_code(flow)])


def _names_in_code(flow: Flow) -> list[str]:
    """Return how programs call a flow and its action, in words."""
    return [name.replace("_", " ") for name in (flow.name, flow.act.action if flow.act else "")]


def _title_words(flow: Flow) -> list[str]:
    """Return the words of the titles of a flow in all languages, in plain form."""
    return [word for title in flow.title.values() for word in _TITLE_WORD.findall(plain(title))]


def _is_verb_of(name: str, verb: str) -> bool:
    words = name.split() if verb.isascii() else [name]
    if not words:
        return False
    if words[0].startswith(verb):
        return not words[0].endswith("ed")
    ends = words[-1].startswith(verb) and not words[-1].endswith("ed") if verb.isascii() else name.endswith(verb)
    return ends and not _CANCELLING.match(name)


def names(flow: Flow, folded: str) -> bool:
    """Return whether a plain text contains a word of the title of a flow, or two characters of a Chinese one."""
    words = _title_words(flow)
    parts = [[word] if word.isascii() else [word[place : place + 2] for place in range(len(word) - 1)] for word in words]
    return any(part in folded for listed in parts for part in listed)


def _is_part(repeated: str, word: str) -> bool:
    """Return whether Chinese characters are a part of a word, such as the verb of a title."""
    return not repeated.isascii() and (repeated in word if len(repeated) > 1 else word.startswith(repeated))


def _is_explained(after: str, lexicon: Lexicon, flow: Flow) -> bool:
    """Return whether a text behind a yes is nothing but assent, politeness, urgency, what the flow is about, and questions.

    What else people add may take the yes back in words that no list foresees: `ok it's a mistake`, `fine, I take it back`.
    """
    texts = [*flow.title.values(), *(flow.confirm or {}).values(), *(title for slot in flow.slots for title in slot.title.values())]
    about = plain(" ".join([*texts, *_names_in_code(flow)]))
    words = {word for word in _TITLE_WORD.findall(about) if word.isascii()}
    for clause in _CLAUSE.findall(after):
        if _ASKS.search(clause):
            continue
        for kind in _BESIDE:
            clause = blanked(clause, [(one.start, one.end) for one in lexicon.find(kind, clause)])
        left = _ASSENT.sub(" ", _URGING.sub(" ", clause))
        said_more = [word for word in _TITLE_WORD.findall(left) if means_something(word)]
        if any(not (_is_about(word, words) if word.isascii() else set(word) <= {*about}) for word in said_more):
            return False
    return True


def _is_about(word: str, words: set[str]) -> bool:
    """Return whether an English word is a form of one of others: `cancelled` of `cancel`, `pay` of `payment`."""
    return any(one.startswith(word) or (len(one) >= _SHORTEST_VERB and word.startswith(one)) for one in words)


def _leads_in(before: str, lexicon: Lexicon, flow: Flow) -> bool:
    """Return whether what stands in front of a yes leaves it a yes: `everything is`, a courtesy, the name of a detail."""
    if _INVERTED.search(before):
        return False
    titles = any_of(title for slot in flow.slots for title in slot.title.values())
    left = _LEADS_IN.sub(" ", titles.sub(" ", before))
    for kind in ("thanks", "greeting", "courtesy", "affirm"):
        left = blanked(left, [(one.start, one.end) for one in lexicon.find(kind, left)])
    return not means_something(left)
