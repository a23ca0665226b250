"""Export the model of a finished run for other programs. Importing this package imports no exporter.

exporters       the interface of a target, and the code that its README shows and its check runs
exportable      parts of a saved run that are exported; refusals
head            class names, templates and classifiers: head.json and head.safetensors
tokenizers      tokenizers as files of the libraries `tokenizers` and `transformers`
open_clip_directory, transformers_directory, state_dict, onnx_towers, lora_adapter       one file per target
check, reload   the check in a fresh process
card            the model card
write           all of it, in order, and the upload to a hub
"""

from models.registry import Registry

_TABLE = {
    "open_clip": (
        "harness.export.open_clip_directory:OpenClipDirectory",
        "a model directory of open_clip: local-dir:DIR",
    ),
    "huggingface": (
        "harness.export.transformers_directory:TransformersDirectory",
        "a model directory of transformers (CLIP, SigLIP); with --adapter, LoRA as a peft adapter",
    ),
    "safetensors": ("harness.export.state_dict:StateDict", "one file of tensors with open_clip's names"),
    "onnx": ("harness.export.onnx_towers:OnnxTowers", "two ONNX models, one per tower, with adapters included"),
}
ABOUT = {name: about for name, (_, about) in _TABLE.items()}
"""One line about each target."""
EXPORTERS = Registry("target", {name: target for name, (target, _) in _TABLE.items()}, entry_points="perennial.exporters")
