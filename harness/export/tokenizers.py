"""Write an encoder's tokenizer as tokenizer.json, which the libraries `tokenizers`, `transformers` and open_clip read.

open_clip's tokenizer of CLIP lowers and splits texts as CLIP's tokenizer in transformers does. It pads with the id 0, which is
also the id of "!". Text towers that see padding (SigLIP, CoCa) need that id, so the file has a second name for it.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from models.encoder import DualEncoder
from models.files import write_bytes
from models.registry import UserError

START, END, PADDING = "<|startoftext|>", "<|endoftext|>", "<|padding|>"


def check(encoder: DualEncoder) -> None:
    """Raise UserError for a tokenizer that is neither open_clip's nor one of transformers."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    tokenizer: Any = encoder._tokenizer
    if not isinstance(tokenizer, (HFTokenizer, SimpleTokenizer)):
        raise UserError(
            f"The tokenizer of {encoder.name} is a {type(tokenizer).__name__}, which cannot be written to a file. Export with "
            "--to safetensors."
        )
    if getattr(tokenizer, "reduction_fn", None) or getattr(tokenizer, "tokenizer_mode", None):
        raise UserError(
            f"The tokenizer of {encoder.name} shortens texts or adds tokens in open_clip's code, which tokenizer.json cannot "
            "hold. Export with --to safetensors."
        )


def is_clips(encoder: DualEncoder) -> bool:
    """Return whether the tokenizer is that of CLIP with CLIP's own vocabulary, which open_clip has built in."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer: Any = encoder._tokenizer
    return isinstance(tokenizer, SimpleTokenizer) and tokenizer.encoder == SimpleTokenizer().encoder


def write(encoder: DualEncoder, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json of a tokenizer that `check` accepts."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer: Any = encoder._tokenizer
    if not isinstance(tokenizer, SimpleTokenizer):
        tokenizer.tokenizer.save_pretrained(folder)
        if tokenizer.clean_fn.__name__ == "_clean_canonicalize":
            _canonicalise(folder / "tokenizer.json")
        return
    vocabulary = dict(tokenizer.encoder)
    vocabulary[START], vocabulary[END] = vocabulary.pop("<start_of_text>"), vocabulary.pop("<end_of_text>")
    # Padding after the end does not matter to a causal tower that is pooled there.
    padding = END if _pooled_at_end(encoder) else PADDING
    if padding == PADDING:
        vocabulary[PADDING] = 0
    content = json.loads(_clips(vocabulary, list(tokenizer.bpe_ranks), padding).to_str())
    # The library writes one name per id.
    content["model"]["vocab"] = vocabulary
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": encoder.context_length,
        "unk_token": END,
        "bos_token": START,
        "eos_token": END,
        "pad_token": padding,
        "clean_up_tokenization_spaces": False,
    }
    write_bytes(folder / "tokenizer.json", json.dumps(content, ensure_ascii=False).encode())
    write_bytes(folder / "tokenizer_config.json", (json.dumps(settings, indent=2) + "\n").encode())


def _clips(vocabulary: dict[str, int], pairs: list[tuple[str, ...]], padding: str) -> Any:
    """Return CLIP's tokenizer of the library `tokenizers`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    # The last line of a file of merges is empty.
    merges = [pair for pair in pairs if len(pair) == 2]
    clip = Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=END))
    clip.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    clip.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    clip.decoder = decoders.ByteLevel()
    ends = (END, vocabulary[END]), (START, vocabulary[START])
    clip.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)
    special = dict.fromkeys([START, END, padding])
    clip.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return clip


def padding_id(encoder: DualEncoder) -> int:
    """Return the id that texts are padded with."""
    return int(encoder.tokenize(["a"])[0, -1])


def _pooled_at_end(encoder: DualEncoder) -> bool:
    """Return whether the text tower is causal and pooled at the end of the text, so that it does not see the padding."""
    return encoder._ends(encoder.tokenize(["a"])) is not None and _causal(encoder)


def _causal(encoder: DualEncoder) -> bool:
    tower = encoder._text_tower()
    return getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None


def _canonicalise(path: Path) -> None:
    """Add open_clip's cleaning "canonicalize" to a tokenizer: no punctuation, lower case, single spaces."""
    content = json.loads(path.read_text("utf-8"))
    steps = [
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
        *({"type": "Replace", "pattern": {"String": mark}, "content": ""} for mark in string.punctuation if mark != "_"),
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ]
    known = content["normalizer"]
    content["normalizer"] = {"type": "Sequence", "normalizers": [*steps, *([known] if known else [])]}
    write_bytes(path, json.dumps(content, ensure_ascii=False).encode())
