"""Python's own documentation strings as text to learn: those of the standard library, and the topics of ``help()``.

Modules are split by a hash of their path, so that no module is in two parts; the vocabulary, byte pairs, is made from
the training part.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from node_oc.data.split import Part

VOCABULARY = 1024
BLOCK = 64  # tokens
END = "<|end|>"  # between modules
LEFT_OUT = ("site-packages", "dist-packages", "test/", "tests/", "idle_test/", "__pycache__")
PARTS = ("train",) * 8 + ("val", "test")


@dataclass(frozen=True)
class Text:
    """Token ids in blocks, (n, 64) in each part.

    Attributes:
        train, val, test: the parts; inputs and labels are the same ids.
        characters: of each part.
        tokens: of each part, before what does not fill a block is left out.
    """

    train: Part
    val: Part
    test: Part
    characters: dict[str, int]
    tokens: dict[str, int]


def modules() -> Iterator[tuple[str, str]]:
    """Path and documentation strings of each module that has some, by path; and each topic of ``help()``."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if any(f"/{name}".find(f"/{left}") >= 0 for left in LEFT_OUT):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # templates of lib2to3 and the like
            continue
        if name == "pydoc_data/topics.py":
            topics = ast.literal_eval(next(node for node in ast.walk(tree) if isinstance(node, ast.Dict)))
            yield from ((f"{name}:{topic}", text) for topic, text in sorted(topics.items()))
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        if any(found):
            yield name, "\n\n".join(text for text in found if text)


def load() -> Text:
    """The text of this Python, tokenised. Other versions of Python have other text."""
    texts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name, text in modules():
        texts[PARTS[int(sha256(name.encode()).hexdigest(), 16) % len(PARTS)]].append(text)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=sorted(alphabet))
    tokenizer.train_from_iterator(texts["train"], trainer)
    ids = {part: _joined(tokenizer, found) for part, found in texts.items()}
    parts = {part: values[: len(values) // BLOCK * BLOCK].view(-1, BLOCK) for part, values in ids.items()}
    return Text(
        **{part: Part(values, values) for part, values in parts.items()},
        characters={part: sum(map(len, found)) for part, found in texts.items()},
        tokens={part: len(values) for part, values in ids.items()},
    )


def _joined(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    end = tokenizer.token_to_id(END)
    return torch.tensor([i for one in tokenizer.encode_batch(texts) for i in (end, *one.ids)])
