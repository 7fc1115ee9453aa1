"""How English denies and doubts what an answer says of a person: patterns for template oa.

They match :func:`~valueeval.tasks.templates.answer_text.clean` text, which is in lower case.
"""

from __future__ import annotations

from valueeval.tasks.templates.answer_text import word_set


def _either(*words: str) -> str:
    return rf"\b(?:{'|'.join(words)})\b"


_NEGATIONS = (
    r"not(?! (?:only|just|merely|simply) \w)(?! (?:afraid|ashamed|hesitant|shy) )",
    *(
        "none of",
        "no(?! (?:doubt|less))",
        "nothing(?! (?:but|less))",
        "never",
        "neither",
        "nor",
        "non",
        "zero",
    ),
    *(
        "cannot",
        "hardly",
        "barely",
        "scarcely",
        "rarely",
        "seldom",
        "less(?: than)?",
        "low(?!-)",
        "minimal",
        "least",
        "little",
        "few",
    ),
    *(
        "without(?! (?:a )?doubt)",
        "lack(?:s|ing)?",
        "devoid",
        "insufficiently",
        "fail(?:s|ing)? to",
    ),
    *("incapable of", "un(?:willing|able)"),
)
_CONTRASTS = (
    *(
        "anything but",
        "all but",
        "(?:rather |other |(?<!more )(?<!less ))than",
        "far from",
        "instead of",
        "opposite of",
    ),
    *("unlike", r"(?<=[a-z] )(?:over|before|above(?! all))(?= \w)"),  # "values people over money"
)
_DISTANCE = (
    *("un(?:concerned|interested|bothered)", "disinterested", "indifferen(?:t|ce)", "closed to"),
    *("critical of", "critic", "criti(?:cises|cizes)", "s[ck]eptical", "averse", "aversion"),
    *(
        "hostil(?:e|ity)",
        "against",
        "enemy",
        "opponent",
        "contempt(?:uous)?",
        "wary of",
        "weary of",
    ),
    *("(?<!not )afraid of", "(?<!no )fears?(?! (?:for|los(?:ing|s)|to lose))"),
)
_REJECTIONS = (
    *(
        "exploit(?:s|ing|ative of)?",
        "harm(?:s|ing|ful to)?",
        "damag(?:es?|ing)",
        "destroy(?:s|ing)?",
    ),
    *("pollut(?:es?|ing)", "threaten(?:s|ing)?", "betray(?:s|ing)?", "bad for"),
    *(
        "oppos(?:es?|ed|ing)",
        "reject(?:s|ed|ing)?",
        "dismiss(?:es|ive|ing)",
        "disapprov(?:es?|ing)",
    ),
    *(
        "refus(?:es?|ing)",
        "den(?:y|ies)",
        "disdain(?:s|ful)?",
        "hat(?:es?|ing)",
        "despis(?:es?|ing)",
    ),
    *(
        "dislik(?:es?|ing)",
        "condemn(?:s|ing)?",
        "(?:dis|mis)trust(?:s|ful|ing)?",
        "question(?:s|ing)",
    ),
    *(
        "challeng(?:es?|ing)",
        "resist(?:s|ant|ing)",
        "ignor(?:es?|ant|ing)",
        "neglect(?:s|ful|ing)?",
    ),
    *("disregard(?:s|ful|ing)?", "avoid(?:s|ing)?", "abandon(?:s|ing)?", "turn(?:s|ing)? away"),
    *("break(?:s|ing)", "disobey(?:s|ing)?", "violat(?:es?|ing)", "throw(?:s|ing)?"),
    *(
        "restrict(?:s|ing|ions?)?",
        "limit(?:s|ing|ations?)?",
        "curtail(?:s|ing)?",
        "suppress(?:es|ing)?",
    ),
    *("downplay(?:s|ing)?", "resent(?:s|ing)?", "mock(?:s|ing)?", "scorn(?:s|ing)?"),
    *(
        "belittl(?:es?|ing)",
        "undermin(?:es?|ing)",
        "attack(?:s|ing)?",
        "abolish(?:es|ing)?",
        "bans?",
        "banning",
        "discourag(?:es?|ing)",
        "sacrific(?:es?|ing)",
    ),
)

BEFORE = (
    _either(*_NEGATIONS, *_CONTRASTS, *_DISTANCE, *_REJECTIONS)
    + r"|n't(?! (?:just|only|merely|simply) \w)"
)
"""Pattern of what denies the words after it: "not bold", "against wealth"."""

_WORTHLESS = (
    *("unimportant", "irrelevant", "secondary", "absent", "missing", "meaningless", "worthless"),
    *(
        "overrated",
        "means? (?:nothing|little)",
        "unnecessary",
        "(?:no|little) (?:concern|importance|role|part|interest|relevance|issue|value)",
    ),
    "(?:is|are|be|being) (?:bad|outdated|harmful|dangerous|wrong|evil|naive|obsolete|silly)",
)
_IMPORTANT = (
    *("important", "relevant", "matters?", "concern", "priority", "valued", "apply", "needed"),
    *(
        "necessary",
        "count",
        "factor",
        "role",
        "issue",
        "part",
        "interesting",
        "central",
        "everything",
        "shown",
        "present",
        "visible",
    ),
)
_AT_THE_END = (
    *("unconcerned", "uninterested", "indifferent", "hostile", "averse", "irresponsible"),
    "ignorant",
)
BEHIND = (
    _either(*_WORTHLESS)
    + rf"|(?:\bnot|n't)(?: \w+){{0,3}} (?:{'|'.join(_IMPORTANT)})\b"
    + rf"|{_either(*_AT_THE_END)}(?= *(?:$|,))"
)
"""Pattern of what denies the words before it: "money is not important", "money is overrated"."""

HEDGE = (
    _either("maybe", "perhaps", "possibly", "unclear", "unsure", "potentially")
    + r"|\b(?:might|could)\b(?! be (?:described|called|seen|considered|characteri[sz]ed))"
)
"""Pattern of what makes the words after it doubtful: "maybe bold"."""

YES = _either("yes", "true", "definitely", "certainly", "absolutely", "very much so") + "|[✓✔✅]"
NO = r"[✗✘❌✖]|\bfalse\b"
"""Patterns of a verdict on the word before: "bold ✓"."""

BESIDE_VERDICT = word_set(
    "i i'd say would think don't no yes not really at all especially particularly very much so "
    "true false definitely certainly absolutely hardly barely scarcely rarely never quite they are "
    "is it he she isn't aren't of course"
)
"""Words that may stand beside a verdict: "I'd say no", "not at all", "not especially"."""
