"""Training methods: one module each, and `METHODS`, which names them.

The modules of the methods import nothing heavy: their classes are read for the command line.
"""

from valueeval.train.config.choice import Method
from valueeval.train.methods.full import Full, PromptFull
from valueeval.train.methods.head import HeadOnly
from valueeval.train.methods.lora import Lora
from valueeval.train.methods.p_tuning import PTuning
from valueeval.train.methods.prefix_tuning import PrefixTuning
from valueeval.train.methods.prompt_tuning import PromptTuning

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (Full, HeadOnly, Lora, PromptTuning, PTuning, PrefixTuning, PromptFull)
}
