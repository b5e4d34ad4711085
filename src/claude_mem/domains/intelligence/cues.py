"""What makes a sentence worth keeping: cue words in English and Chinese, and hard words. Pure.

A hard word is one that a paraphrase would lose: an identifier, a file, a number with its unit, a ticket, a commit.
"""

from __future__ import annotations

import re
from typing import Final


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


DECISION: Final = _any(
    # "Agreed, ..." is assent to what was said: what is decided stands there, or in what follows
    r"\bdecid\w*|\bdecision\b|(?<!^)\bagreed\b|^agreed\b(?! ?[,.!;]|$)|\bapproved?\b"
    r"|\bsettled? (?:on|for)\b|\bchos(?:e|en)\b|\brecommend\w*",
    r"\b(?:we|i)(?:'ll| will| are going to|'d) (?:use|take|go with|keep|switch|adopt|pick|choose|stay|not)\b",
    r"\blet'?s (?:use|take|go|keep|do|not|stay)\b|\bgo(?:ing)? (?:with|for)\b|\bstick(?:ing)? (?:with|to)\b",
    r"\binstead(?: of)?\b|\brather than\b|\bin favou?r of\b|\bswitch(?:ed|ing)? (?:to|from)\b"
    r"|\breplac(?:e|ed|ing)\b",
    r"决定|改用|改成|改为|采用|就按|按这个|就这(?:样|么)|选用|选择|选第|定下|定了|敲定|方案|建议|而不是|换成|折中|统一(?:用|成|到)",
)
REJECTION: Final = _any(
    r"\breject\w*|\bruled? out\b|\bdiscard\w*|\bdon'?t want\b|\bwon'?t (?:use|do|pin|add|work)\b|\bwithout\b",
    r"(?:^|[.;:,] )(?:not?|never|and no|but not) \w|\bnot (?:use|pin|worth|going to)\b|\bno need\b"
    r"|\bover ?kill\b",
    r"不用|不要|不能用|放弃|否决|拒绝|不采用|不考虑|不合适|没必要|不行",
)
CAUSE: Final = _any(
    r"\bbecause\b|\bcaus(?:e|es|ed)\b|\broot cause\b|\breason\b|\bdue to\b|\bthat(?:'s| is) (?:why|when|how)\b",
    r"\bturns? out\b|\bcomes? from\b|\bso (?:that|the|it|two|every|each)\b|\bwhich (?:is|means"
    r"|made)\b|\bsince\b",
    r"\bexplains?\b|\bhappens? (?:when|because|if)\b|\bnever (?:\w+ed)\b",
    r"原因|因为|由于|所以|导致|根因|造成|这样来的|于是|结果是|说明|意味着",
)
PREFERENCE: Final = _any(
    r"\balways\b|\bnever\b|\bfrom now on\b|\bin (?:the )?future\b|\bevery time\b|\bas a rule\b"
    r"|\brule\b|\bremember\b",
    r"\bi (?:\w+ )?prefer\b|\bi (?:don'?t )?(?:want|like)\b|\bplease don'?t\b|\bdon'?t ever\b"
    r"|\bmust(?: not|n'?t)?\b",
    r"\bno (?:blanket|more)\b|\bonly ever\b|\bin (?:this|our) (?:repo|project|team)\b"
    r"|\bour (?:convention|rule)\w*",
    r"(?<![天周月年时分秒])以后(?!的|再|清|处|删)|从现在起|从今(?:以后|往后)|今后|一律|总是|永远|绝不|不要再|都这样|必须|禁止|规矩|规定|记住|每次|统一用|约定",
)
RULE: Final = _any(  # said strongly enough to hold beyond the session
    # "always" and "never" before a verb in its base form, said to whoever is to do it, or before how it is done
    r"(?:^|[.;:,] |\b(?:please|we|you|and|but|so|also|should|must|shall|will|can|may|to) )(?:always|never)"
    r" (?!(?:been|seen|had|did|got|came|saw|knew|went|ran|was|were|is|has|again)\b)(?!\w+(?:ed|[^su]s)\b)[a-z`]",
    r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bhas )\b(?:always|never)"
    r" (?:in|as|with|via|through|by|on|under|before|after|without)\b(?! (?:ci|windows|mac\w*|linux|\w+days?)\b)",
    r"\bfrom (?:now|here) on\b|, as always\b|^in (?:the )?future[,:] |\bas a rule\b|\bdon'?t ever\b|\bplease remember\b"
    r"|^(?:please )?(?:do|don'?t|use|put|run|keep|write|ask|tell|check)\b.*\b(?:in (?:the )?future|every time)\b",
    r"\bi (?:\w+ )?prefer\b|\bour (?:convention|rule)\w*|\bonly ever\b|\bi want\b.{2,60}\b(?:always|every time)\b"
    r"|\bmust (?:not|never|always|stay|remain)\b",
    # a prohibition, a limit, a choice of tool
    r"(?:^|[.;:] |\bplease )(?:and |but )?no (?!idea|need|problem|hurry|worr|rush|doubt|wonder|question|change"
    r"|thanks|longer|one\b|matter|way|luck|big|further|open|sign)[`@]?[a-z][^?]{2,}",
    r"^(?:and |but )?(?:at most |only )?one [\w-]+ (?:per|for each|for every)\b",
    r"^(?:(?:and|please|also|but|then)[, ]+)*use\b.{2,60}"
    r"(?:,? (?:not|never|and not)\b|\bonly\b|\b(?:burnt|burned|bitten)\b)",
    r"(?:^|[，。；：、,;:\s]|这条|我们|一直)以后(?!的|再|清|处|删)|从现在起|从今(?:以后|往后)|今后|(?<!其他)(?<!其余)(?<!别的)一律"
    r"|绝不|不要再|都这样|禁止",
    r"(?:^|[，。；：、]|请|必须|应该|我们|你们?|[^需]要)(?:总是|永远|每次都)(?!.{0,3}(?:失败|报错|出错|超时|抱怨|忘))",
    r"(?:定|立|有).{0,6}(?:规矩|规定|规则)[：:，,]|(?:规矩|规定|规则|约定)(?:是|：|:|.{0,12}定[了好])|记住[：:，,]",
    r"只(?:能|许|准|可以)?用.{1,24}[，,、；;](?:别|不|禁)|(?:别|不要|不准|不许|不能)(?:用|使用)[^？]{1,24}[，,、；;]?只?用"
    r"|每[个条次份张行].{0,10}(?:不(?:得|能|许|要)?(?:超过|多于|大于)|最多|至多|至少)",
    r"(?:就|要|得)\S{1,6}\s?[\w`]+[，,]\s?(?:不要|别|不准|不许)|要按.{1,40}来|不(?:能|许|要|准)写死",
)
# A tale of what is or was, or of a rule that somebody remembers, is none.
NO_RULE: Final = _any(
    r"^(?:i|we) (?:remember|recall|thought|think|wonder)\b|^(?:我|我们)?(?:记得|好像|听说)",
    # what somebody else said
    r"^(?!(?:i|we|you)\b)[^,;:]{2,40}\b(?:said|says|told (?:me|us)|claim(?:s|ed)|complain(?:s|ed))\b",
    # what is so for once, or already was
    r"\b(?:in|for) this (?:reply|answer|message|run|case|commit)\b|\bthis time\b|\bfor now\b|\bjust once\b"
    r"|这次|这回|暂时",
    # what somebody feels, does or is; nobody is told how to work
    r"\b(?:they|it|he|she|people|who|everyone|everybody)\b(?:['’`](?:ll|d|re|s|ve))?(?: \w+){0,3} (?:always|never)\b",
    r"\bi(?:['’`](?:ll|d|m|ve))?(?: (?:will|would|can|could|am|have))? (?:always|never)\b",
    r"\b(?:can|could|will|would)(?: be)? always\b|\bremind(?:s|ed|ing)? (?:me|us) (?:of|to|that)\b",
    r"\b(?:always|never) (?:know|knew|give up|look(?:ing)? (?:forward|out)|be (?:there|here|afraid)|here|there|happy"
    r"|glad|good|nice|great|fun|lovely|a (?:joy|blessing|pleasure|treat)|being|staying|enjoy|loved?|heard"
    r"|on the lookout)\b",
    r"^no (?:regrets?|prob\b|details yet|surprise)",
    r"^(?:and |but )?no [\w -]{2,30} (?:was|were|is|are|has|have|had)\b|^no \w+ \w+[^s]s (?:the|a|an|any|our|it)\b",
)
# Who chose, in an assistant's words: without one "not" and "instead" tell what is wrong, or a figure.
CHOICE: Final = _any(
    r"\b(?:we|i|you|let'?s)\b[^.;:]{0,24}\b(?:decid\w+|agreed|settled|choose|chose|recommend\w*|propose\w*|suggest"
    r"|prefer|reject\w*|rule[ds]? out|keep|kept|use[ds]?|using|take|took|go|went|switch\w*|replac\w+|pick\w*|drop\w*"
    r"|adopt\w*|stay\w*|stick|add|put|pin|work|want)\b",
    r"(?:^|[.;:] )(?:decided|decision|agreed|rejected|recommend\w*|proposal|chosen|settled|approved|replac\w+"
    r"|switch\w*|use|keep|go with|take|stick|ruled out|discarded)\b",
    r"\b(?:was|were|is|are|been) (?:rejected|decided|approved|chosen|agreed|ruled out|discarded|settled)\b"
    r"|\b(?:decision|recommendation)\b|\bin favou?r of\b|\b(?:worth it|no need|over ?kill)\b"
    r"|(?:^|[.;] )never (?!\w+ed\b)\w+ ",
    r"决定|改用|改成|改为|采用|就按|选用|选择|选第|定下|定了|敲定|建议|换成|折中|统一(?:用|成|到)|不用|不要|放弃|否决|拒绝|不考虑|没必要",
)
NO_CHOICE: Final = _any(
    r"\bthen (?:we )?decide\b|\bdecides? (?:who|what|whether|which|how|when)\b|\bstill to (?:do|decide)\b"
    r"|\bto be decided\b"
    r"|\b(?:is|are|was|were) wrong\b|\bleaks?\b|\bdid(?:n't| not)\b|^one caution\b|^\d|\bno \w+ was\b|^如果|[，；]如果",
)
RESULT: Final = _any(
    r"\b\d+ (?:tests? )?(?:passed|failed|pass|tests|errors?)\b|\bcommitted (?:as|in|to)\b|\bdeployed\b"
    r"|\breleased?\b|\bmerged\b",
    r"\bpushed\b|\bgreen\b|\bworks\b|\bfixed\b(?! (?:limit|size|number|width|value))|\bmended\b"
    r"|\bdone\b|\bp(?:50|90|95|99)\b|\bslowest\b"
    r"|\bresult\b",
    r"\bfrom [^ ]+ (?:\w+ )?(?:down )?to \d|\bnow \d|\brestored\b|\bverified\b",
    r"已提交|通过|已部署|上线|修好|完成|合并|发布|降到|恢复|验证[过了]",
)
FAILURE: Final = _any(
    r"\bfail\w*|\berrors?\b|\bexception\b|\bbr(?:oke|oken|eaks)\b|\bcrash\w*|\btime[ds]?[- ]?outs?\b"
    r"|\brefus\w+|\bwrong\b",
    r"\bbugs?\b|\bregression\b|\bmismatch\b|\bleak\w*|\bdenied\b|\bflaky\b|\bslow\b|\bduplicat\w*"
    r"|\bmissing\b|\blost\b|\btwice\b|\bred\b|\b[45]\d\ds?\b(?! ?(?:ms|s|%|rows))",
    r"失败|报错|错误|超时|崩溃|异常|出错|不对|重复|回滚|泄露|丢|漏|误差|冲突|越权|缺",
)
LEFTOVER: Final = _any(
    r"\bleft (?:for later|over|to do|open|is|are)\b|\bfor later\b|\blater\b|\btodo\b"
    r"|\bfollow[- ]?ups?\b|\bout of scope\b",
    r"\bstill (?:need|has|have|to|open|missing|unknown|\w+ing)\b|\bnot (?:yet|done|touched|changed)\b"
    r"|\bremain(?:s|ing)\b",
    r"\bhaven'?t\b|\bhas(?:n'?t| not)\b|\bopen (?:question|point|item)\w*|\bopen:|\bunknown\b"
    r"|\bwaiting for\b|\bnot known\b",
    r"\bthere is no .{1,40}\byet\b|\byet\b|\bto be decided\b|\bwill (?:hit|need|break|have to)\b"
    r"|\bone thing (?:is )?left\b",
    r"还没(?!有[^\u4e00-\u9fff])|没有?(?:做|删|动|处理|实现|定|确认|重算)|这次不做|以后(?:再|清|处|删)|待办|遗留|未(?:做|删|处理|完成|确认|定)"
    r"|剩下|下次|之后再|后续"
    r"|尚未|暂(?:时)?不|等.{1,16}(?:确认|回复|发布|再|定|给)",
)
# Announcements and courtesies: they say what a later sentence shows.
NOISE: Final = _any(
    r"^(?:let me|let's (?:look|see|start|check)"
    r"|i'?ll (?:look|check|start|read|run|see|now|also|first|go|write|put|take a|have|do|begin"
    r"|measure|try|open)|i will (?:look|check|start|read|run))\b",
    r"^(?:i'?m (?:going|adding|running|looking|writing|reading|checking)|now (?:i|let|the rest)"
    r"|looking at|reading|first,? (?:i|the)|running|checking)\b",
    r"^(?:ok(?:ay)?|good|great|noted|sure|thanks|thank you|perfect|understood|right|yes|done|agreed"
    r"|fine|hello|hi)\b[^:]{0,14}$",
    r"^(?:here(?:'s| is| are)|then (?:i|a|the)|next,? i)\b",
    r"^(?:先|我(?:先|来|去|再)|让我|接下来|现在(?:来|我|去)|再(?:看|跑)|下面)(?:看|查|跑|读|改|试|写|确认|是|把|做|给)?",
    r"^(?:好的?|明白|收到|对|可以|行|嗯|谢谢)[，。！!. ]*$",
)
COURTESY: Final = re.compile(
    r"^(?:(?:please|could you|can you|hi|hello|hey|ok(?:ay)?|so|and|good|great|right|yes|agreed|thanks)[,.! ]+)+"
    r"|^(?:(?:请|麻烦(?:你)?|帮我|你好|好的?|对|嗯|可以|行)[，。！,. ]*)+",
    re.IGNORECASE,
)

QUESTION: Final = re.compile(
    r"[?？]\s*$|什么|如何|怎么|吗[。，]|哪[里些个]|各有|^(?:what|why|how|where|which|who|when)\b",
    re.IGNORECASE,
)
# "Agreed, number 4": what is meant stands elsewhere.
OPTION: Final = re.compile(
    r"\b(?:number|option|take|go with|variant"
    r"|#)\s*(\d{1,2})\b(?![.:]?\d)(?!\s*(?:%|ms|s|min|h|days?|seats?|of)\b)|(?:第|方案"
    r"|选)\s*([一二三四五六七八九\d])(?:个|种|条|项)?",
    re.IGNORECASE,
)

_HARD: Final = re.compile(
    r"`[^`\n]{2,80}`"  # what somebody marked as code
    r"|\b[A-Z][A-Z0-9]+-\d+\b"  # a ticket
    r"|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b"  # a commit
    r"|[\w@~-]*/[\w./*-]+\w|\b[\w-]+\.[a-z]{1,5}\b"  # a path or file
    r"|\b\w+_\w+\b|\b[a-z]+[A-Z]\w+\b|\b[A-Z][a-z]+[A-Z]\w+\b"  # an identifier
    r"|\b[A-Z]{3,}\b"  # a constant
    r"|(?<![\w.])[<>=~]?\d[\d.,:]*\s?(?:%|ms|s|min|h|[KMG]?i?B|°C|€|\$|x|rps|条|个|秒|分钟|分|天|小时|次|人|位|元"
    r"|毫秒)?(?![\w])"
    r"|[\"“「][^\"”」\n]{2,60}[\"”」]"  # something quoted
    r"|(?<!^)(?<![.!?:] )\b[A-Z][a-z]{2,}\b"  # a name
)
_STRIP: Final = '`"“”「」.,:;()[]'


def hard_words(text: str) -> frozenset[str]:
    """The words of a sentence that must not be lost, as they are compared."""
    found = (match.strip(_STRIP).strip().casefold() for match in _HARD.findall(text))
    return frozenset(word for word in found if len(word) > 1 or word.isdigit())


def is_dense_script(text: str) -> bool:
    """Whether a text is mostly in a script without spaces."""
    dense = sum(1 for char in text if "\u2e80" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af")
    return dense * 4 > len(text)
