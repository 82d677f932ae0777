"""A micro base model from scratch: a byte-level BPE tokenizer and a Llama, trained on the ``corpus`` split.

The architecture is Llama (Touvron et al. 2023, arXiv 2302.13971): RMSNorm, SwiGLU, rotary embeddings. Numbers are
tokenized digit by digit, without which a model this small doesn't learn arithmetic.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.errors import InputError
from components.stage import Stage
from components.training.arguments import TrainConfig, trainer_arguments

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


class Config(TrainConfig):
    """Size and training of the micro base.

    Attributes:
        vocab_size: most tokens that the tokenizer may have.
        block: tokens of one training row; documents are packed one behind the other.
        context: tokens that the model can attend to (rotary positions).
    """

    method: Literal["pretrain"] = "pretrain"
    hidden_size: int = Field(128, ge=8)
    intermediate_size: int = Field(384, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int = Field(4, ge=1)
    vocab_size: int = Field(768, ge=260)
    context: int = Field(512, ge=16)
    block: int = Field(128, ge=16)
    chat_template: str = "auto"
    lr: float = Field(3e-3, gt=0)
    batch_size: int = Field(32, ge=1)
    weight_decay: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _shapes_fit(self) -> Config:
        if self.hidden_size % self.heads or self.heads % self.kv_heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(
                f"hidden_size={self.hidden_size}, heads={self.heads}, kv_heads={self.kv_heads} don't fit: "
                "heads must divide hidden_size with an even quotient, kv_heads must divide heads"
            )
        if self.block > self.context:
            raise ValueError(f"block={self.block} is longer than context={self.context}")
        return self

    def splits(self) -> tuple[str, ...]:
        """Reads the corpus."""
        return ("corpus",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains tokenizer and model; writes the model folder, tokens seen and final losses (nats a token)."""
    from transformers import Trainer, TrainingArguments

    from components.data.records import read
    from components.models.chat import choose_template, template_hash
    from components.training.policy import fit, save_full

    texts = [record["text"] for record in read(inputs.split("corpus"), "text")]
    tokenizer = train_tokenizer(texts, config)
    choose_template(tokenizer, config.chat_template)
    blocks = pack(tokenizer, texts, config.block)
    held = max(1, len(blocks) // 50)
    train, test = blocks[:-held], blocks[-held:]
    if not train:
        raise InputError(f"the corpus holds {len(blocks)} blocks of {config.block} tokens: too few to train on; add text")
    model = new_model(config, tokenizer)
    arguments = TrainingArguments(**trainer_arguments(config, stage, len(train)))
    trainer = Trainer(model=model, args=arguments, train_dataset=Blocks(train))
    model = fit(trainer, stage)
    save_full(model, tokenizer, stage.out / "model")
    rows = trainer.state.global_step * config.processes * config.batch_size * config.gradient_accumulation
    stage.save_metrics(
        {
            "parameters": model.num_parameters(),
            "vocab_size": len(tokenizer),
            "tokens_seen": rows * config.block,
            "corpus_tokens": len(blocks) * config.block,
            "heldout_loss": mean_loss(model, test),
            "chat_template_sha256": template_hash(tokenizer),
        }
    )


class Blocks:
    """Map-style dataset over token rows of equal length; the labels are the tokens themselves."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def train_tokenizer(texts: list[str], config: Config) -> Any:
    """Byte-level BPE with single digits, trained on the corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=config.context,
        clean_up_tokenization_spaces=False,
    )


def pack(tokenizer: Any, texts: list[str], block: int) -> list[list[int]]:
    """Documents as ``<s> text </s>`` one behind the other, cut into blocks; the last, short one is left out."""
    ids: list[int] = []
    for encoded in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        ids += [tokenizer.bos_token_id, *encoded, tokenizer.eos_token_id]
    return [ids[i : i + block] for i in range(0, len(ids) - block + 1, block)]


def new_model(config: Config, tokenizer: Any) -> Any:
    """A freshly initialised Llama in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def mean_loss(model: Any, blocks: list[list[int]], batch: int = 32) -> float:
    """Mean cross-entropy in nats a token."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(blocks), batch):
            ids = torch.tensor(blocks[start : start + batch], device=model.device)
            total += float(model(input_ids=ids, labels=ids).loss) * len(ids)
            count += len(ids)
    return round(total / count, 6)
