"""Tell whether words that describe a person are English.

Certain are words of the lists here, keywords of the values, and words with an ending that English
adjectives have and other languages in Latin letters hardly use. All else is taken for no English:
a reader that does not know a word does not know what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from valueeval.tasks.templates.answer_text import word_set
from valueeval.tasks.values import VALUES

_ENDING = re.compile(
    r"[a-z]{2,}(?:ed|ing|ful|less|ish|ous|ical|ness|some|ly|ship|ity|ive|ic|ist|ists|ism|minded"
    r"|hearted|like|tions?|ment|ments)"
)
_PREFIX = re.compile(r"(?:un|non|anti|co|over|under|in|dis|self|pro|hyper|ultra)(?=[a-z]{3})")
_FOREIGN_ENDING = re.compile(
    r"[a-z]+(?:isch|ische|lich|liche|ig|ige|iger|haft|sam|iert|ell|elle|iv|eux|euse|aire|iste|iques?"
    r"|oso|osa|ivo|iva|ado|ada|ador|ista|ico|ica|ente|ante|oso|ale|ile|ijk|ieus|ief|eur|ique)"
)
_FOREIGN = word_set(
    "att auch avec con das der een ein eine einen einer el en es est et gli ikke il inte ist kein "
    "keine keinen las le les los mensch mit molto muito muy mycket nicht niet não och oder og "
    "ohne ou pas persona personne pessoa sans sehr senza sin très uma una und une y zeer zum è"
)
_SMALL = word_set(
    "a about all also although always am an and another any are aren't as at be because been "
    "being between both but by can can't cannot could did didn't do does doesn't doing don't each "
    "even every few for from had has have having he he's her here him his how however i i'd i'm "
    "if in into is isn't it it's its just least less likely little many may maybe me might more "
    "most much must my neither never no nor not of often on only or other others our out over own "
    "perhaps possibly probably quite rather really same shall she she's should since so some "
    "sometimes somewhat still such than that that's the their them then there these they they're "
    "this those though to too under up us usually very was wasn't we were what when where which "
    "while who whom whose why will with without won't would wouldn't yes yet you your"
)
_PEOPLE = word_set(
    "adjective adjectives against answer answers anyone appear appears argue argues argument "
    "based best citizen claim claims comes conclusion describe described describes describing "
    "description explanation following human individual kind kinds man member note one people "
    "person premise question regard respect said say saying says seem seems somebody someone sort "
    "speaker speaks summary terms text think thinks three two type value values woman word words"
)
_TRAITS = word_set(
    "able absent absurd active adult afraid aggressive agnostic aimless alert aloof altruistic "
    "angry annoyed annoying anxious apathetic apolitical argumentative arrogant ascetic atheist "
    "average averse aware awkward bad balanced basic benevolent bitter bland blasé blunt boastful "
    "boring bossy brash bright brutal busy callous calm candid capitalist carefree careless "
    "casual cavalier centrist certain charitable charming cheap cheerful child childish civilised "
    "clean clear clever closed cold collectivist combative comfortable common communal communist "
    "complacent complex concerned confident conflicted confused consequentialist consistent "
    "consumer contemporary contrarian controversial conventional cool cooperative corrupt "
    "cosmopolitan cowardly crazy credulous critic critical crude cruel cultured cunning cynic "
    "cynical dangerous decent decisive defensive defiant deliberate democrat democratic demure "
    "dependent desperate detached determined deviant different difficult direct disabled "
    "disinterested distant diverse docile dogmatic dominated doubter dour dreamer dreary dry dull "
    "dumb eager early earnest easy easygoing eccentric economic economical educated efficient "
    "egoist egoistic elegant elitist emotional empty energetic enlightened enthusiast "
    "enthusiastic envious equal ethical evil exact exciting expert extreme extremist extrovert "
    "fanatic fatalist fearful feminist fierce firm fit flexible flippant follower fool foolish "
    "foreign formal forward fragile frank friend friendly frivolous frugal frustrated futuristic "
    "gentle giving global good grave great grim guarded guilty gullible happy hard harsh hasty "
    "heartless helpless heroic hesitant high hopeful hostile hot hothead humane humanist humorous "
    "hungry hypocrite hypocritical ideal idealist idealistic idle ignorant immature immoral "
    "impatient impersonal important impractical impressive impulsive inactive inclined "
    "inconsistent indecisive indifferent individualist indolent inept inert informed innocent "
    "insensitive insincere insular intense interested internationalist introvert introverted "
    "invested irate ironic isolated jaded jealous joyless keen laid-back lawless lax lazy "
    "left-wing leftist lenient liberal light lonely loose loud lover low lucky mad materialist "
    "mature mean mellow mild militant militaristic minimalist miser miserly mistrustful moderate "
    "modern modernist moral mundane naive narrow narrow-minded nationalist nationalistic natural "
    "naïve needy negative negligent nervous nice nihilist nihilistic noble noisy nonchalant "
    "normal nostalgic novice oblivious obsessed odd offensive old open opinionated opportunist "
    "opportunistic optimist optimistic ordinary outdated outgoing outspoken pacifist parent "
    "partial partisan passionate passive passé paternal paternalistic patient peculiar permissive "
    "pessimist pessimistic petty philanthropic philistine plain pleasant poor popular populist "
    "positive practical pragmatic pragmatist precise prejudiced pretentious pro-choice pro-life "
    "productive professional progressive progressivist protectionist prudish public punctual "
    "punitive pure puritan puritanical quiet racist radical rash rationalist ready realist "
    "realistic rebel rebellious reckless reformer reformist relaxed reluctant remote reserved "
    "resigned resilient resolute restrained retributive revolutionary right right-wing rigid "
    "rival romantic rough rude ruthless sad sane sarcastic satisfied savvy sceptic sceptical "
    "secular self-absorbed self-centered self-centred selfish selfless sensible sensitive "
    "sentimental serious severe sexist shallow shameless sharp short-sighted shy silly simple "
    "sincere skeptic skeptical sleepy slow sly smart snob snobbish sober sociable social "
    "socialist soft solitary sophisticated sour speciesist stern stingy stoic strange strategic "
    "strict strong stubborn studious stupid subjective submissive superficial superior supporter "
    "surprised suspicious sweet sympathetic talkative technocrat technocratic technophile "
    "temperate tense terse thankful thinker thorough thoughtful timid tired tough transparent "
    "trendy troubled trusting ugly uncertain unfair uninformed uninterested unique unmoved unsure "
    "upset urban urgent useful useless utilitarian vague vain vegan vegetarian vengeful versatile "
    "victim vindictive violent visionary vocal vulgar vulnerable wary wasteful weak wealthy "
    "well-informed wild willing wise withdrawn witty workaholic worker worldly worried young "
    "youthful zealot zealous zen"
)
_OTHER_WORDS = word_set(
    "killjoy spoilsport statement sceptics skeptics "
    "accept accepts animals attitude authority believe believes best better big body business "
    "care cares cause change children choice church common community company concern concerns "
    "cost costs country crime culture distrust distrusts doubt doubts economy education "
    "environment everybody everyone fact facts family favor favors favour favours fear fears feel "
    "feels first follow follows food former free freedom friends funny future get gets give gives "
    "go god goes good government hate hates health history hold holds hope hopes human humans "
    "idea ideas interest interests issue issues job justice keep keeps know knows last later law "
    "laws life like likes live lives long look looks love loves make makes market mind money "
    "nature need needs never new nobody nothing opinion opinions oppose opposes outlook own "
    "parents part past peace people point police poor power prefer prefers problem problems "
    "progress protect protects put puts quo reason reasons regard reject rejects religion rich "
    "right rights risk risks rule rules safety school science see seek seeks sees self sense "
    "short small society something state status support supports take takes technology term thing "
    "things time tolerance tradition trust trusts truth view views want wants war way ways work "
    "works world worries worry worse worst"
)
_KNOWN = (
    _SMALL
    | _PEOPLE
    | _TRAITS
    | _OTHER_WORDS
    | {keyword for value in VALUES for keyword in value.words}
)


def is_english(words: Iterable[str]) -> bool:
    """Return whether words, in lower case, are English: none foreign, at least half known."""
    words = list(words)
    if (
        not words
        or is_foreign(words)
        or not all(word.isascii() or word in _KNOWN for word in words)
    ):
        return False
    return sum(map(_is_known, words)) * 2 >= len(words)


def is_foreign(words: Iterable[str]) -> bool:
    """Return whether a word is one that another language uses often, such as "nicht"."""
    return not _FOREIGN.isdisjoint(words)


def says_nothing(words: Iterable[str]) -> bool:
    """Return whether words are only small ones and those of our questions."""
    return (_SMALL | _PEOPLE).issuperset(words)


def _is_known(word: str) -> bool:
    if word in _KNOWN:
        return True
    if "-" in word:
        return any(map(_is_known, word.split("-")))
    stem = _PREFIX.sub("", word)
    if stem in _KNOWN:
        return True
    plural = word.removesuffix("s")
    if plural in _KNOWN or plural.removesuffix("'") in _KNOWN:
        return True
    return bool(_ENDING.fullmatch(word)) and not _FOREIGN_ENDING.fullmatch(word)
