"""All measures of one task before training, by name: one table that the command line, the plugins and studies ask.

Each reads what one forward pass gives (`Features`). Measures that compare checkpoints or models are functions of their own:
`metrics.cka.linear_cka`, `metrics.weight_cosine.weight_cosine`, `metrics.discriminant.ncti`. EMMS is left out: it needs the
label embeddings of three large encoders.

Importing this module imports neither torch nor numpy, so that names and meanings can be listed at once.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from models.registry import unknown

if TYPE_CHECKING:
    from torch import Tensor


class Features(NamedTuple):
    """One task through one model: unit image features [N, d], labels [N], unit class text features [C, d], logit scale."""

    image_features: Tensor
    labels: Tensor
    text_features: Tensor
    logit_scale: float = 100.0


class Value(NamedTuple):
    """A measured value with its 95 % interval over images, where there is one; NaN comes with its reason."""

    value: float
    low: float | None = None
    high: float | None = None
    reason: str = ""


Values = Mapping[str, Value]


class Described(NamedTuple):
    """A measure: the function (it may give several measures at once), what it means, what a higher value says, its source."""

    function: Callable[[Features], Values]
    meaning: str
    higher: str
    source: str


def measure_all(features: Features, names: Iterable[str] | None = None) -> dict[str, Value]:
    """Name -> value for the measures asked, in that order; `DEFAULT` when none are named.

    A measure that is undefined on this task (one class, too few images, NaN among the features) is NaN with the reason; no
    value stands for one that could not be computed. Tensors may be in any precision and on any device; all is computed in
    float64 on the CPU. Raises UserError for an unknown name and ValueError when the shapes do not belong together.
    """
    names = list(DEFAULT if names is None else names)
    for name in names:
        if name not in MEASURES:
            raise unknown("measure", name, MEASURES)
    features = _checked(features)
    found: dict[Callable[[Features], Values], Values | str] = {}
    for function in dict.fromkeys(MEASURES[name].function for name in names):
        try:
            found[function] = function(features)
        except ValueError as error:
            found[function] = str(error)
    return {name: _value(found[MEASURES[name].function], name) for name in names}


def _value(found: Values | str, name: str) -> Value:
    return Value(math.nan, reason=found) if isinstance(found, str) else found[name]


def _checked(features: Features) -> Features:
    import torch

    x, y, t = (torch.as_tensor(part).detach().cpu() for part in features[:3])
    if x.ndim != 2 or t.ndim != 2 or x.shape[1] != t.shape[1] or y.shape != (len(x),):
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, y, t))
        raise ValueError(f"expected image features [N, d], labels [N] and text features [C, d], got {shapes}")
    return Features(x, y, t, float(features.logit_scale))


def _iimm(f: Features) -> Values:
    from metrics.iimm import iimm
    from metrics.jackknife import jackknife

    names = ("iimm", "iimm_intra", "iimm_inter")
    if len(f.labels) < 3:
        return dict(zip(names, map(Value, iimm(f.image_features, f.text_features, f.labels)[:3]), strict=True))
    found = jackknife(f.image_features, f.text_features, f.labels)[:3]
    return {name: Value(i.value, i.low, i.high) for name, i in zip(names, found, strict=True)}


def _silhouette(f: Features) -> Values:
    from metrics.silhouette import silhouette

    return {"silhouette": Value(silhouette(f.image_features, f.labels))}


def _modality_silhouette(f: Features) -> Values:
    from metrics.silhouette import modality_silhouette

    return {"silhouette_modality": Value(modality_silhouette(f.image_features, f.text_features))}


def _correct_pair(f: Features) -> Values:
    from metrics.jackknife import interval
    from metrics.similarity import correct_pair
    from metrics.sums import ClassSums, chunks

    mean = correct_pair(ClassSums().update(f.image_features, f.labels), f.text_features)
    n = len(f.labels)
    if n < 2:
        return {"correct_pair": Value(mean)}
    t = f.text_features.double()
    squares = sum(float(((x * t[y]).sum(dim=1) - mean).square().sum()) for x, y in chunks(f.image_features, f.labels))
    found = interval(mean, math.sqrt(squares / (n - 1) / n), n - 1)
    return {"correct_pair": Value(found.value, found.low, found.high)}


def _text_text(f: Features) -> Values:
    from metrics.similarity import text_text

    return {"text_text": Value(text_text(f.text_features))}


def _modality_gap(f: Features) -> Values:
    from metrics.similarity import modality_gap
    from metrics.sums import ClassSums

    return {"modality_gap": Value(modality_gap(ClassSums().update(f.image_features, f.labels), f.text_features))}


def _on_labels(name: str, module: str = "metrics.transferability") -> Callable[[Features], Values]:
    """The measure that the function of that name makes of image features and labels alone."""

    def score(f: Features) -> Values:
        function: Any = getattr(importlib.import_module(module), name)
        return {name: Value(function(*_arrays(f)))}

    return score


def _hscore(f: Features) -> Values:
    from metrics.transferability import hscore

    n, d = f.image_features.shape
    if n <= d + 1:
        raise ValueError(f"the H-score of {n} images of width {d} is the number of classes less 1, whatever they show")
    return {"hscore": Value(hscore(*_arrays(f)))}


def _from_zero_shot(f: Features) -> Values:
    from scipy.special import softmax

    from metrics.sums import ClassSums, class_texts
    from metrics.transferability import leep, nce

    texts = class_texts(f.text_features, ClassSums().update(f.image_features, f.labels)).numpy()
    probabilities = softmax(f.logit_scale * f.image_features.double().numpy() @ texts.T, axis=1)
    labels = f.labels.numpy()
    return {"leep": Value(leep(probabilities, labels)), "nce": Value(nce(probabilities.argmax(axis=1), labels))}


def _ncti(f: Features) -> Values:
    from metrics.discriminant import ncti_terms

    terms = ncti_terms(*_arrays(f))
    relative = "relative to other models: give the terms of several to metrics.discriminant.ncti"
    return {
        "ncti": Value(math.nan, reason=relative),
        "ncti_seli": Value(terms.seli),
        "ncti_ncc": Value(terms.ncc),
        "ncti_vc": Value(terms.vc),
    }


def _linear_probe(f: Features) -> Values:
    from metrics.linear_probe import linear_probe

    return {"linear_probe": Value(linear_probe(*_arrays(f)).accuracy)}


def _arrays(f: Features) -> tuple[Any, Any]:
    return f.image_features.double().numpy(), f.labels.numpy()


def select_measures(names: Iterable[str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The measures asked for, each once, in the table's order; "all": those of `ONE_MODEL`.

    `more` are names beside the table that are valid too, and part of "all". Raises UserError for an unknown name.
    """
    names, more = list(names), tuple(more)
    for name in names:
        if name not in (*MEASURES, *more, "all"):
            raise unknown("measure", name, [*MEASURES, *more, "all"])
    wanted = {*names, *((*ONE_MODEL, *more) if "all" in names else ())}
    return tuple(name for name in (*MEASURES, *more) if name in wanted)


FITS = "the features fit the labels better"
# What a run logs after an experience rather than before: it compares the model with the initial one.
AFTER_TRAINING = ("cka",)
DEFAULT = ("iimm", "iimm_intra", "iimm_inter", "silhouette", "correct_pair")
RUN_DEFAULTS = (*DEFAULT, *AFTER_TRAINING)
MEASURES: dict[str, Described] = {
    "iimm": Described(
        _iimm, "Mean of iimm_intra and iimm_inter.", "fine-tuning gains more and forgets more", "Niss et al. 2407.15731"
    ),
    "iimm_intra": Described(
        _iimm, "Mean similarity of two images of the task.", "images look alike to the model", "Niss et al. 2407.15731"
    ),
    "iimm_inter": Described(
        _iimm,
        "Mean similarity of an image to the texts of wrong classes.",
        "texts tell classes apart less",
        "Niss et al. 2407.15731",
    ),
    "silhouette": Described(
        _silhouette,
        "Silhouette of the images clustered by class, cosine distance.",
        "classes lie apart",
        "Rousseeuw 1987; 2402.09613",
    ),
    "silhouette_modality": Described(
        _modality_silhouette,
        "Silhouette of images and class texts clustered by modality, cosine distance.",
        "images and texts lie apart",
        "Rousseeuw 1987; 2402.09613",
    ),
    "correct_pair": Described(
        _correct_pair, "Mean similarity of an image to the text of its class.", "already better aligned", "2402.09613"
    ),
    "text_text": Described(
        _text_text, "Mean similarity of two class texts.", "class names read alike", "Niss et al. 2407.15731"
    ),
    "modality_gap": Described(
        _modality_gap,
        "Distance of the mean image and the mean class text.",
        "images and texts lie apart",
        "Liang et al. 2203.02053",
    ),
    "logme": Described(
        _on_labels("logme"), "Log evidence per image of linear regressions on the labels.", FITS, "You et al. 2102.11005"
    ),
    "leep": Described(
        _from_zero_shot,
        "Log likelihood of the labels through the zero-shot class probabilities (as the source classifier).",
        "zero-shot answers say more of the labels",
        "Nguyen et al. 2002.12462",
    ),
    "nce": Described(
        _from_zero_shot,
        "Minus the conditional entropy of the labels given the zero-shot answers, in nats.",
        "zero-shot answers say more of the labels",
        "Tran et al. 1908.08142",
    ),
    "hscore": Described(_hscore, "Variance between classes of the whitened features.", FITS, "Bao et al. 2212.10082"),
    "transrate": Described(
        _on_labels("transrate"), "Coding rate of all features minus the mean within classes.", FITS, "Huang et al. 2106.09362"
    ),
    "gbc": Described(
        _on_labels("gbc"),
        "Minus the overlap of spherical Gaussians of the classes.",
        "classes overlap less",
        "Pandy et al. 2111.12780",
    ),
    "sfda": Described(
        _on_labels("sfda", "metrics.discriminant"),
        "Mean right probability of a self-challenging Fisher analysis.",
        FITS,
        "Shao et al. 2207.03036",
    ),
    "ncti": Described(_ncti, "Nearness to neural collapse among several models; NaN for one.", FITS, "Wang et al., ICCV 2023"),
    "ncti_seli": Described(_ncti, "NCTI's spread of the classes.", "classes lie apart", "Wang et al., ICCV 2023"),
    "ncti_ncc": Described(_ncti, "NCTI's right probability of the nearest centre.", FITS, "Wang et al., ICCV 2023"),
    "ncti_vc": Described(_ncti, "NCTI's variability within the classes.", "classes are less compact", "Wang et al., ICCV 2023"),
    "linear_probe": Described(
        _linear_probe, "Cross-validated accuracy of logistic regression on the features, in percent.", FITS, "our protocol"
    ),
}
ONE_MODEL = tuple(name for name in MEASURES if name != "ncti")
