"""What a prompt is about: its words without those that only say what is to be done. Pure.

"Fix the refund bug" is about refunds: whether memory knows "fix" and "bug" tells nothing, nor does it when it does not.
Scripts without spaces are looked for by overlapping pairs of characters, so that many a pair is no word: "退款规则"
holds "款规". A pair that nothing holds counts by those of its characters that no other word of the prompt explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from claude_mem.domains.retrieval import analysis

_UNKNOWN: Final = 0.9999  # the rarity of a word that nobody has
_WORDS: Final = """
add adjust again alright also answer apply back background better broken bug build bump can change check clean code
commit complete component continue convert correct create data delete describe do done draw edit error example explain
extend fast faster file find finish fix function generate get give go good happen help here implement improve install
issue item keep large larger learn let line look make merge method module more move name need new next nice now number
ok okay old open output please prepare problem push put question read really redo refactor remember remove rename
repair replace result retry review rewrite run see set shorten show simple simpler simplify small smaller some
something split start still stop string sure take task tell test text thank thanks thing today translate try type typo
understand undo update upgrade use value variable want way well word work works write wrong yes
"""
_PAIRS: Final = """
测试 提交 继续 解释 翻译 生成 安装 升级 修改 修复 删除 添加 推荐 代码 文件 运行 问题 检查 帮我 实现 创建 重构
更新 看看 今天 现在 谢谢 优化 完成 处理 增加 调整 查看 说明 函数 变量 名字 需要 可以 开始 介绍 编写 设置 配置
给我 告诉 一下 错误
"""
# Of the trade and of every day: beside a word of the project's own they count, by themselves they are about anything.
_COMMON_WORDS: Final = """
action api app argument array async attribute await backend bash big block body boolean border bottom box branch
browser button byte cache center char class client cloud cluster color colour column command comment compile compiler
computer config configuration connect connection console constant constructor container content controller cookie copy
count country css csv cursor dark database date day debug default dependencies dependency design desktop dialog
dictionary diff difference different directory docker docs document documentation door double dump element email empty
end endpoint engine english env environment event exception exit export expression family fetch field first float
folder font footer form format frame framework friend frontend git github global go golang great group hash head
header heading hello home hour html http https icon image import index info input insert instance integer interface
iterator java javascript job json key keyboard kind label lambda language last layout leave left length level library
license like link linux list load local location log logger login loop machine mail main man map markdown match math
max memory menu merge message method middle min minute mode model money month mouse music name network night node note
null object operator option order output page pair paragraph parameter parent parse parser parsing part party password
path pattern person phone picture pipeline place plain plan play player pointer position post print process program
programming promise property public pull python query queue quick random range react read readme rebase record
recursion red regex release reply request reset resource response rest right role room root route row ruby rust scale
schema school screen script scroll search secret select send sentence server service session settings sheet shell side
sign size sky sleep software sort source space spelling sql square stack standard state static status step storage
store story stream style sum summary swap switch symbol sync syntax system tab table tag team template terminal theme
thread ticket time title toggle tool top tree true tuple type typescript ui unit upload url user username utf vector
version view visible void week white whitespace widget width window world wrap xml yaml year yesterday zero
"""
_COMMON_PAIRS: Final = """
页面 数据 据库 格式 式化 颜色 按钮 字体 标题 列表 表格 界面 接口 请求 服务 务器 浏览 览器 用户 密码 登录 登陆
分支 合并 日志 注释 文档 版本 代码 程序 脚本 命令 目录 路径 对象 数组 字符 符串 类型 参数 返回 循环 排序 搜索
下载 上传 打印 时间 日期 天气 今年 明天 昨天 公司 电脑 手机 图片 视频 音乐 故事 文章 邮件 周报 报告 计划 会议
老师 学习 工作 生活 朋友 看起 起来 所有 列出
"""
_FUNCTION: Final = frozenset(
    "的了是在一个下这那我你您他她它们吗呢吧啊么什怎样把给被和与或就都也很太还有没不又再里上能会要想让请帮从到对为写做加改跑看"
)


def subject(rarity: Mapping[str, float]) -> dict[str, float]:
    """What a prompt is about, from its words (as they are looked for) and how rare each is: word -> what it counts."""
    weights: dict[str, float] = {}
    for word, weight in rarity.items():
        plain = word.removesuffix("*")
        weights[plain] = max(weights.get(plain, 0.0), weight)
    spaced = {word: weight for word, weight in weights.items() if word.isascii()}
    pairs = {word: weight for word, weight in weights.items() if not word.isascii()}
    return _of_spaced(spaced) | _of_pairs(pairs)


def is_common(word: str) -> bool:
    """Whether a word is no more of this project than of any other."""
    return word in _common()


def _of_spaced(weights: Mapping[str, float]) -> dict[str, float]:
    """Without errands; of a compound ("CalendarPage") the whole, or where nobody has it its parts."""
    left = {word: weight for word, weight in weights.items() if word not in _errands()}
    wholes = {word: _parts(word, left) for word in left}
    gone: set[str] = set()
    for whole, parts in wholes.items():
        gone |= parts if left[whole] < _UNKNOWN else {whole} if parts else set()
    return {word: weight for word, weight in left.items() if word not in gone}


def _parts(whole: str, words: Iterable[str]) -> set[str]:
    return {word for word in words if word != whole and word in whole}


def _of_pairs(weights: Mapping[str, float]) -> dict[str, float]:
    errands = frozenset(_PAIRS.split())
    known = {
        word: weight
        for word, weight in weights.items()
        if weight < _UNKNOWN and word not in errands and not _FUNCTION & set(word)
    }
    explained = _FUNCTION.union(*known, *(word for word in weights if word in errands))
    unknown = {
        word: weight * sum(character not in explained for character in word) / len(word)
        for word, weight in weights.items()
        if weight >= _UNKNOWN
    }
    return known | {word: weight for word, weight in unknown.items() if weight}


@cache
def _errands() -> frozenset[str]:
    """As the analysis makes them."""
    return frozenset(analysis.tokens(_WORDS))


@cache
def _common() -> frozenset[str]:
    return frozenset([*analysis.tokens(_COMMON_WORDS), *_COMMON_PAIRS.split()])
