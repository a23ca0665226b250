"""Tokenizers of open_clip models, built without running code of a model directory or repository.

CLIP's, CoCa's and EVA-02's tokenizer ships with open_clip, a model directory may bring its own merges. Others (SigLIP's) are
files of transformers. transformers would import Python files that `tokenizer_config.json` names, or look its class up by
name; here the files are looked through first and `trust_remote_code` is False.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.loading import hub
from models.registry import UserError, first_line

MERGES = "bpe.txt.gz"
# Unpacked, CLIP's own merges have 3 MB.
LARGEST_MERGES = 64_000_000
CONTEXT = 77
# What transformers reads a vocabulary from; none of these formats holds code.
VOCABULARIES = ("tokenizer.json", "*.model", "*.spm", "vocab.json", "vocab.txt", "merges.txt")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
# Classes of transformers that read such files, without the suffix "Fast".
CLASSES = {
    *("PreTrainedTokenizer", "TokenizersBackend", "SentencePieceBackend"),
    *("AlbertTokenizer", "BartTokenizer", "BertTokenizer", "CamembertTokenizer", "CLIPTokenizer", "CodeGenTokenizer"),
    *("DebertaTokenizer", "DebertaV2Tokenizer", "DistilBertTokenizer", "ElectraTokenizer", "GPT2Tokenizer", "GemmaTokenizer"),
    *("LlamaTokenizer", "M2M100Tokenizer", "MBartTokenizer", "MBart50Tokenizer", "MPNetTokenizer", "MT5Tokenizer"),
    *("NllbTokenizer", "Qwen2Tokenizer", "RobertaTokenizer", "SiglipTokenizer", "Siglip2Tokenizer", "T5Tokenizer"),
    *("XLMRobertaTokenizer", "XLNetTokenizer"),
}


def build(text_cfg: Mapping[str, Any], name: str, directory: Path | None = None, merges: Path | None = None) -> Any:
    """The tokenizer of a model whose `text_cfg` is open_clip's own or has been checked by `models.loading.model_config`.

    Args:
        text_cfg: the model's text settings.
        name: the model's name, for messages.
        directory: the model directory; its files are used, never those of `hf_tokenizer_name`. None: the repository's.
        merges: the merges of CLIP's tokenizer; None, or no such file: CLIP's own.

    Raises:
        UserError: files are missing, damaged, cannot be downloaded, or name code.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    context = text_cfg.get("context_length", CONTEXT)
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    repository = text_cfg.get("hf_tokenizer_name")
    try:
        if repository:
            folder = _files(repository, name, directory)
            with hub.quiet():
                return HFTokenizer(
                    str(folder),
                    context_length=context,
                    tokenizer_mode=text_cfg.get("tokenizer_mode"),
                    trust_remote_code=False,
                    local_files_only=True,
                    **options,
                )
        if merges is not None and merges.is_file():
            _check_merges(merges)
            options["bpe_path"] = str(merges)
        return SimpleTokenizer(context_length=context, **options)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"There is not enough memory for the tokenizer of {name!r}.") from error
    except Exception as error:  # transformers and tokenizers raise any class for damaged files
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"Cannot build the tokenizer of {name!r} from its files ({reason}).") from error


def _files(repository: str, name: str, directory: Path | None) -> Path:
    """The folder with the tokenizer's files, looked through."""
    if directory is None:
        try:
            folder = hub.folder(repository, (*VOCABULARIES, *SETTINGS), "tokenizer")
        except UserError as error:
            raise UserError(f"Cannot get the tokenizer of {name!r}: {error}") from error
    else:
        folder = directory
    if not any(path.is_file() for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise UserError(
            f"Cannot get the tokenizer of {name!r}: {folder} has none of {', '.join(VOCABULARIES)}; the model needs the "
            f"tokenizer's files of {repository} there."
        )
    for settings in SETTINGS:
        if (folder / settings).is_file():
            _check_settings(folder / settings, name)
    return folder


def _check_settings(path: Path, name: str) -> None:
    """Raise UserError for settings that name Python code, or a class that is not one of transformers' tokenizers."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"The file {path} of the model {name!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"The file {path} of the model {name!r} is not JSON: {first_line(error)}.") from error
    if not isinstance(settings, dict):
        raise UserError(f"The file {path} of the model {name!r} is not a JSON object.")
    if settings.get("auto_map"):
        raise UserError(
            f"The model {name!r} brings Python code for its tokenizer ({path.name} has auto_map), and code of a model is never "
            "run: use a tokenizer that is one of transformers' classes."
        )
    kind = settings.get("tokenizer_class")
    if kind is not None and (not isinstance(kind, str) or kind.removesuffix("Fast") not in CLASSES):
        raise UserError(
            f"The model {name!r} asks for the tokenizer class {kind!r} ({path.name}), which is not one of the classes of "
            "transformers that are known to read vocabularies only."
        )


def _check_merges(path: Path) -> None:
    """Raise UserError for merges that are not gzipped text, or that would fill the memory when they are unpacked."""
    try:
        with gzip.open(path) as opened:
            content = opened.read(LARGEST_MERGES + 1)
        content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"The merges {path} are damaged or not gzipped text: {first_line(error)}.") from error
    if len(content) > LARGEST_MERGES:
        raise UserError(f"The merges {path} unpack to more than {LARGEST_MERGES:,} bytes, which no vocabulary of CLIP's has.")
