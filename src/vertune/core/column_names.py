"""Guesses from the name of a column, in English or Chinese, what the column contains, such as a label, a text or a date."""

from __future__ import annotations

import re
from functools import lru_cache

from vertune.core.profile import Role

_WORDS: dict[Role, str] = {
    "label": """label labels category class intent sentiment target topic topics tags tag type kind queue diagnosis gold polarity emotion
        entailment genre genres keyword keywords theme department priority outcome result verdict y subject area domain answerable
        relation is_duplicate duplicate status group section default churn fraud spam toxic aspect aspects approved survived disease
        reason cause severity urgency product code_label coarse classification response_class team
        标签 类别 分类 类型 意图 情感 情感倾向 倾向 主题 话题 诊断 结果 结论 情绪 领域
        科室 部门 优先级 是否 违约 流失 关系 等级 性质 疾病 病名 关键词
        种类 归类 业务类型""",
    "number": """score rating stars relatedness similarity grade mark marks price value polarity_score points rate gold_score y target label
        relevance amount percentage
        分数 评分 得分 星级 打分 分值 价格 相似度 相关度 成绩 率 评级 金额 数值 满意度""",
    "text": """text sentence content utterance query question message review comment body document description post tweet input request
        complaint feedback title headline abstract summary symptoms symptom passage article email problem issue says story transcript
        premise hypothesis claim sms prompt instruction context paragraph note remark customer
        文本 内容 评论 正文 问题 句子 留言 反馈 投诉 提问 评价 描述 标题 摘要 主诉 病情 症状 原文 语句
        问句 咨询 新闻 文章 消息 需求 建议 诉求 查询 对话""",
    "reply": """answer reply response output agent_reply our_reply resolution solution completion
        答案 回答 回复 答复 解答 处理结果 处理意见 输出""",
    "reference": """reference desired model_answer desired_answer reference_answer expected expected_answer ideal rubric correct_answer
        参考答案 标准答案""",
    "meta": """date time created updated opened closed at agent user username author name phone email address url link ip age weight height
        kg cm
        size count number num year month day hour source channel device version lang language city country region zip company annotator
        worker split fold file filename path comments remark remarks timestamp confidence agreement by
        日期 时间 姓名 客服 坐席 用户 作者 电话 邮箱 地址 年龄 体重 身高 数量 来源 渠道 版本 城市 国家 地区 公司 备注 链接 文件""",
    "id": """id ids index idx uuid guid key row no nr number ticket case serial
        编号 序号 工单号 单号 行号 主键""",
}  # fmt: skip
_FACTS = frozenset({
    "department", "priority", "status", "group", "section", "area", "product", "severity", "urgency", "team",
    "科室", "部门", "优先级", "等级",
})  # fmt: skip
"""Names of labels that are as often a fact about the row, beside a column with the label itself."""
_FACT_RANK = 0.4
"""How much of its rank such a name has: so much less that the last column of a table is not preferred for it."""
_CJK_END = 0.85
"""How much of its rank a Chinese word has at the end of a name; nearly all, because most names are compounds, such as 诉求类型."""
_LISTS: dict[Role, tuple[str, ...]] = {role: tuple(words.split()) for role, words in _WORDS.items()}
_LONGEST = 100
"""Number of characters of a name up to which what it suggests is kept; longer ones are texts."""
_CJK = re.compile("[\u3400-\u9fff]")


def roles(name: str) -> dict[Role, float]:
    """Return what the name suggests: for each role, a number from 0 (nothing) to 1 (the most usual name of such a column)."""
    return dict(_roles(name) if len(name) <= _LONGEST else _roles.__wrapped__(name))


@lru_cache(maxsize=4096)
def _roles(name: str) -> dict[Role, float]:
    plain = re.sub(r"[(\[（【].*?[)\]）】]", " ", name).strip() or name
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).casefold()
    words = [word for word in re.split(r"[\W_]+", plain) if word]
    joined = "_".join(words)
    found = {role: max((_match(joined, words, word, place / len(listed)) for place, word in enumerate(listed)), default=0.0)
             for role, listed in _LISTS.items()}  # fmt: skip
    return {role: score for role, score in found.items() if score > 0}


def _match(joined: str, words: list[str], listed: str, place: float) -> float:
    """Return how well a name matches one listed word; `place`, from 0 to 1, is lower for more usual words.

    `joined` is the name in lower case with `_` between its words. The last word of an English name counts more than the others, as in
    `customer_question`; so does the end of a Chinese name.
    """
    rank = (1 - 0.3 * place) * (_FACT_RANK if listed in _FACTS else 1)
    if joined == listed:
        return rank
    bare = joined.rstrip("0123456789_")
    if _CJK.search(listed):
        return _CJK_END * rank if bare.endswith(listed) else 0.6 * rank if listed in joined else 0.0
    if bare == listed or joined.endswith(f"_{listed}"):
        return 0.7 * rank
    if listed in words or joined.startswith(f"{listed}_"):
        return 0.45 * rank
    return 0.4 * rank if len(words) == 1 and len(listed) > 3 and joined.endswith(listed) else 0.0
