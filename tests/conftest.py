"""Fixtures that several test files share: real data, and tiny random models made on the spot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from hypothesis import settings

# Times depend on what else the machine does.
settings.register_profile("valueeval", deadline=None)
settings.load_profile("valueeval")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from all tests but those for GPUs: they compare numbers bit by bit."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


# Words enough for every prompt to be more than unknown tokens; anything else falls back to bytes.
_TRAINING_TEXT = [
    "Premise: Conclusion: Stance: for against Question: Answer: yes no",
    "Does this argument rest on the value of having ideas and interests of one's own?",
    "We should protect nature because it is beautiful and the people who live there need it.",
]


@pytest.fixture(autouse=True)
def _the_data_stay_where_they_are() -> Iterator[None]:
    """A command that is given --data_dir tells its process; later tests must not read that."""
    before = os.environ.get("VALUEEVAL_DATA")
    yield
    if before is None:
        os.environ.pop("VALUEEVAL_DATA", None)
    else:
        os.environ["VALUEEVAL_DATA"] = before


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder of the official files; skips, saying so, where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "touche23-valueeval"
    folder = Path(os.environ.get("VALUEEVAL_DATA", beside))
    if not (folder / "arguments-test.tsv").is_file():
        pytest.skip(f"no official data: set VALUEEVAL_DATA (looked in {folder})")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[fake_hub.FakeHub]:
    """A hub on this machine that huggingface_hub talks to, with an empty cache of its own."""
    with fake_hub.running() as hub:
        fake_hub.use(monkeypatch, hub.url, tmp_path / "cache")
        yield hub


def _save_byte_level_tokenizer(folder: Path, *, eos: str = "<|endoftext|>") -> int:
    """A small byte-level BPE tokenizer (every string has tokens); returns its vocabulary size."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(_TRAINING_TEXT, vocab_size=400, special_tokens=["<pad>", eos])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token=eos,
        pad_token="<pad>",  # noqa: S106
        model_max_length=4096,
    )
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random GPT-2 with 2 layers of width 32."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("tiny-gpt2")
    vocab = _save_byte_level_tokenizer(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab, n_positions=4096, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random T5 with 2 layers of width 32."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny-t5")
    vocab = _save_byte_level_tokenizer(folder, eos="</s>")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocab, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random BERT encoder with 2 layers of width 32 and a byte-level tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    vocab = _save_byte_level_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocab, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def backend(request: pytest.FixtureRequest) -> str:
    """Return lm-eval's name of a kind of language model."""
    return str(request.param)


@pytest.fixture(scope="module")
def lively(
    backend: str, tiny_gpt2: Path, tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Directory of a language model of this kind whose answers differ."""
    from language_models import write_lively

    tiny = tiny_t5 if backend == "seq2seq" else tiny_gpt2
    return write_lively(tmp_path_factory.mktemp(f"lively-{backend}"), tiny, backend)
