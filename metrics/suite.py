"""All measures of a task before training, by name: the table that the command line, the plugins and studies use.

Each measure reads the output of one forward pass (`Features`). Measures that compare checkpoints or models are separate
functions: `metrics.cka.linear_cka`, `metrics.weight_cosine.weight_cosine`, `metrics.discriminant.ncti`. EMMS is not
implemented, because it needs the label embeddings of three large encoders.

Importing this module imports neither torch nor numpy, so that names and meanings can be listed at once.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from models.registry import unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Features(NamedTuple):
    """One task through one model.

    Attributes:
        image_features: unit image features [N, d].
        labels: labels [N].
        text_features: unit class text features [C, d].
        logit_scale: the factor of the cosines in the model's logits.
    """

    image_features: Tensor
    labels: Tensor
    text_features: Tensor
    logit_scale: float = 100.0


class Value(NamedTuple):
    """A measured value with its 95 % interval over images, if it has one. NaN comes with a reason."""

    value: float
    low: float | None = None
    high: float | None = None
    reason: str = ""


Values = Mapping[str, Value]


class Measure(NamedTuple):
    """A row of `measures.csv`: its time ("before" or "after" experience 1..T), task, measure, value and number of images."""

    when: str
    experience: int
    task: str
    measure: str
    value: float
    n: int


class Description(NamedTuple):
    """A measure: its function, its meaning, the meaning of higher values, and its source.

    A function may return several measures at once.
    """

    function: Callable[[Features], Values]
    meaning: str
    higher: str
    source: str


def measure_all(features: Features, names: Iterable[str] | None = None) -> dict[str, Value]:
    """Take measures of a task.

    A measure that is undefined on this task (one class, too few images, NaN among the features) is NaN with the reason. No
    value replaces one that cannot be computed. Tensors may have any precision and device. All computations are in float64 on
    the CPU.

    Args:
        features: the features of the task.
        names: names of measures; None: `DEFAULT`.

    Returns:
        Name -> value, in the order of `names`.

    Raises:
        UserError: a name is unknown.
        ValueError: the shapes do not fit together.
    """
    names = list(DEFAULT if names is None else names)
    for name in names:
        if name not in MEASURES:
            raise unknown("measure", name, MEASURES)
    features = _checked(features)
    results: dict[Callable[[Features], Values], Values | str] = {}
    for function in dict.fromkeys(MEASURES[name].function for name in names):
        try:
            results[function] = function(features)
        except ValueError as error:
            results[function] = str(error)
    return {name: _value(results[MEASURES[name].function], name) for name in names}


def _value(values: Values | str, name: str) -> Value:
    """Return a measure's value, or NaN with the reason if its function failed."""
    return Value(math.nan, reason=values) if isinstance(values, str) else values[name]


def _checked(features: Features) -> Features:
    """Return the features detached on the CPU. Raises ValueError if their shapes do not fit together."""
    import torch

    x, y, t = (torch.as_tensor(tensor).detach().cpu() for tensor in features[:3])
    if x.ndim != 2 or t.ndim != 2 or x.shape[1] != t.shape[1] or y.shape != (len(x),):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x, y, t))
        raise ValueError(f"expected image features [N, d], labels [N] and text features [C, d], got {shapes}")
    return Features(x, y, t, float(features.logit_scale))


def _iimm(f: Features) -> Values:
    """Measure IIMM and its terms, with jackknife intervals for at least 3 images."""
    from metrics.iimm import iimm
    from metrics.jackknife import jackknife

    names = ("iimm", "iimm_intra", "iimm_inter")
    if len(f.labels) < 3:
        return dict(zip(names, map(Value, iimm(f.image_features, f.text_features, f.labels)[:3]), strict=True))
    intervals = jackknife(f.image_features, f.text_features, f.labels)[:3]
    return {name: Value(i.value, i.low, i.high) for name, i in zip(names, intervals, strict=True)}


def _silhouette(f: Features) -> Values:
    """Measure the silhouette by class."""
    from metrics.silhouette import silhouette

    return {"silhouette": Value(silhouette(f.image_features, f.labels))}


def _modality_silhouette(f: Features) -> Values:
    """Measure the silhouette by modality."""
    from metrics.silhouette import modality_silhouette

    return {"silhouette_modality": Value(modality_silhouette(f.image_features, f.text_features))}


def _correct_pair(f: Features) -> Values:
    """Measure the similarity of images to their class texts, with an interval for at least 2 images."""
    from metrics.jackknife import interval
    from metrics.similarity import correct_pair
    from metrics.sums import ClassSums, chunks

    mean = correct_pair(ClassSums().update(f.image_features, f.labels), f.text_features)
    n = len(f.labels)
    if n < 2:
        return {"correct_pair": Value(mean)}
    t = f.text_features.double()
    squares = sum(float(((x * t[y]).sum(dim=1) - mean).square().sum()) for x, y in chunks(f.image_features, f.labels))
    result = interval(mean, math.sqrt(squares / (n - 1) / n), n - 1)
    return {"correct_pair": Value(result.value, result.low, result.high)}


def _text_text(f: Features) -> Values:
    """Measure the similarity of class texts."""
    from metrics.similarity import text_text

    return {"text_text": Value(text_text(f.text_features))}


def _modality_gap(f: Features) -> Values:
    """Measure the modality gap."""
    from metrics.similarity import modality_gap
    from metrics.sums import ClassSums

    return {"modality_gap": Value(modality_gap(ClassSums().update(f.image_features, f.labels), f.text_features))}


def _on_labels(name: str, module: str = "metrics.transferability") -> Callable[[Features], Values]:
    """Return the measure of a function that takes only image features and labels."""

    def score(f: Features) -> Values:
        function: Callable[..., float] = getattr(importlib.import_module(module), name)
        return {name: Value(function(*_arrays(f)))}

    return score


def _hscore(f: Features) -> Values:
    """Measure the H-score, which is uninformative for few images."""
    from metrics.transferability import hscore

    n, d = f.image_features.shape
    if n <= d + 1:
        raise ValueError(f"the H-score needs more than d + 1 images (n = {n:,}, d = {d:,})")
    return {"hscore": Value(hscore(*_arrays(f)))}


def _from_zero_shot(f: Features) -> Values:
    """Measure LEEP and NCE with zero-shot classification as the source classifier."""
    from scipy.special import softmax

    from metrics.sums import ClassSums, class_texts
    from metrics.transferability import leep, nce

    texts = class_texts(f.text_features, ClassSums().update(f.image_features, f.labels)).numpy()
    probabilities = softmax(f.logit_scale * f.image_features.double().numpy() @ texts.T, axis=1)
    labels = f.labels.numpy()
    return {"leep": Value(leep(probabilities, labels)), "nce": Value(nce(probabilities.argmax(axis=1), labels))}


def _ncti(f: Features) -> Values:
    """Return the terms of NCTI. NCTI itself needs several models."""
    from metrics.discriminant import ncti_terms

    terms = ncti_terms(*_arrays(f))
    relative = "NCTI compares several models: pass the terms of each to metrics.discriminant.ncti"
    return {
        "ncti": Value(math.nan, reason=relative),
        "ncti_seli": Value(terms.seli),
        "ncti_ncc": Value(terms.ncc),
        "ncti_vc": Value(terms.vc),
    }


def _linear_probe(f: Features) -> Values:
    """Measure the linear probe."""
    from metrics.linear_probe import linear_probe

    return {"linear_probe": Value(linear_probe(*_arrays(f)).accuracy)}


def _arrays(f: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return image features in float64 and labels, as arrays."""
    return f.image_features.double().numpy(), f.labels.numpy()


def select_measures(names: Iterable[str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the named measures, each once, in the table's order. "all" stands for `ONE_MODEL`.

    Args:
        names: names of measures, or "all".
        more: further valid names that are not in the table. "all" includes them.

    Raises:
        UserError: a name is unknown.
    """
    names, more = list(names), tuple(more)
    for name in names:
        if name not in (*MEASURES, *more, "all"):
            raise unknown("measure", name, [*MEASURES, *more, "all"])
    wanted = {*names, *((*ONE_MODEL, *more) if "all" in names else ())}
    return tuple(name for name in (*MEASURES, *more) if name in wanted)


FITS = "the features fit the labels better"
# Logged after an experience, not before it, because they compare the model with the initial one.
AFTER_TRAINING = ("cka",)
DEFAULT = ("iimm", "iimm_intra", "iimm_inter", "silhouette", "correct_pair")
RUN_DEFAULTS = (*DEFAULT, *AFTER_TRAINING)
MEASURES: dict[str, Description] = {
    "iimm": Description(
        _iimm,
        "Mean of iimm_intra and iimm_inter.",
        "fine-tuning gains more and forgets more, according to the paper",
        "Niss et al. 2407.15731",
    ),
    "iimm_intra": Description(
        _iimm, "Mean similarity of two images of the task.", "images are more alike to the model", "Niss et al. 2407.15731"
    ),
    "iimm_inter": Description(
        _iimm,
        "Mean similarity of an image to the texts of wrong classes.",
        "texts separate the classes less",
        "Niss et al. 2407.15731",
    ),
    "silhouette": Description(
        _silhouette,
        "Silhouette of the images clustered by class, cosine distance.",
        "classes are better separated",
        "Rousseeuw 1987; 2402.09613",
    ),
    "silhouette_modality": Description(
        _modality_silhouette,
        "Silhouette of images and class texts clustered by modality, cosine distance.",
        "images and texts are farther apart",
        "Rousseeuw 1987; 2402.09613",
    ),
    "correct_pair": Description(
        _correct_pair, "Mean similarity of an image to the text of its class.", "better aligned before training", "2402.09613"
    ),
    "text_text": Description(
        _text_text, "Mean similarity of two class texts.", "class names are more alike", "Niss et al. 2407.15731"
    ),
    "modality_gap": Description(
        _modality_gap,
        "Distance between the mean image and the mean class text.",
        "images and texts are farther apart",
        "Liang et al. 2203.02053",
    ),
    "logme": Description(
        _on_labels("logme"), "Log evidence per image of linear regressions on the labels.", FITS, "You et al. 2102.11005"
    ),
    "leep": Description(
        _from_zero_shot,
        "Log likelihood of the labels through the zero-shot class probabilities (as the source classifier).",
        "zero-shot answers predict the labels better",
        "Nguyen et al. 2002.12462",
    ),
    "nce": Description(
        _from_zero_shot,
        "Minus the conditional entropy of the labels given the zero-shot answers, in nats.",
        "zero-shot answers predict the labels better",
        "Tran et al. 1908.08142",
    ),
    "hscore": Description(_hscore, "Variance between classes of the whitened features.", FITS, "Bao et al. 2212.10082"),
    "transrate": Description(
        _on_labels("transrate"), "Coding rate of all features minus the mean within classes.", FITS, "Huang et al. 2106.09362"
    ),
    "gbc": Description(
        _on_labels("gbc"),
        "Minus the overlap of spherical Gaussians of the classes.",
        "classes overlap less",
        "Pandy et al. 2111.12780",
    ),
    "sfda": Description(
        _on_labels("sfda", "metrics.discriminant"),
        "Mean probability of the right class after a self-challenging Fisher analysis.",
        FITS,
        "Shao et al. 2207.03036",
    ),
    "ncti": Description(
        _ncti, "Closeness to neural collapse among several models; NaN for one model.", FITS, "Wang et al., ICCV 2023"
    ),
    "ncti_seli": Description(_ncti, "NCTI's spread of the classes.", "classes are better separated", "Wang et al., ICCV 2023"),
    "ncti_ncc": Description(
        _ncti, "NCTI's probability of the right class by the nearest centre.", FITS, "Wang et al., ICCV 2023"
    ),
    "ncti_vc": Description(
        _ncti, "NCTI's variability within the classes.", "classes are less compact", "Wang et al., ICCV 2023"
    ),
    "linear_probe": Description(
        _linear_probe, "Cross-validated accuracy of logistic regression on the features, in percent.", FITS, "our protocol"
    ),
}
ONE_MODEL = tuple(name for name in MEASURES if name != "ncti")
