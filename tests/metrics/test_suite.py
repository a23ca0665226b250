"""Measures by name: the numbers of their functions, and NaN only with a reason."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_score

from metrics import discriminant, transferability
from metrics.iimm import iimm
from metrics.jackknife import jackknife
from metrics.linear_probe import linear_probe
from metrics.similarity import modality_gap, text_text
from metrics.suite import DEFAULT, MEASURES, ONE_MODEL, Features, measure_all, select_measures
from metrics.sums import ClassSums
from models.registry import UserError


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    t = F.normalize(torch.randn(4, 8, generator=generator), dim=1)
    # Class 3 has no images.
    y = torch.arange(60) % 3
    x = F.normalize(0.4 * t[y] + 0.3 * torch.randn(60, 8, generator=generator) + 0.2, dim=1)
    return Features(x, y, t, logit_scale=20.0)


def test_every_measure_against_its_function(task):
    result = measure_all(task, MEASURES)
    assert list(result) == list(MEASURES)
    x, y, t, scale = task
    images, labels = x.double().numpy(), y.numpy()
    p = torch.softmax(scale * x.double() @ t.double().T, dim=1).numpy()
    terms = discriminant.ncti_terms(images, labels)
    modalities = [0] * 60 + [1] * 4
    expected = {
        "iimm": iimm(x, t, y).score,
        "iimm_intra": iimm(x, t, y).intra,
        "iimm_inter": iimm(x, t, y).inter,
        "silhouette": silhouette_score(images, labels, metric="cosine"),
        "silhouette_modality": silhouette_score(torch.cat([x, t]).double(), modalities, metric="cosine"),
        "correct_pair": float((x.double() * t.double()[y]).sum(dim=1).mean()),
        "text_text": text_text(t),
        "modality_gap": modality_gap(ClassSums().update(x, y), t),
        "logme": transferability.logme(images, labels),
        "leep": transferability.leep(p, labels),
        "nce": transferability.nce(p.argmax(axis=1), labels),
        "hscore": transferability.hscore(images, labels),
        "transrate": transferability.transrate(images, labels),
        "gbc": transferability.gbc(images, labels),
        "sfda": discriminant.sfda(images, labels),
        "ncti": math.nan,
        "ncti_seli": terms.seli,
        "ncti_ncc": terms.ncc,
        "ncti_vc": terms.vc,
        "linear_probe": linear_probe(images, labels).accuracy,
    }
    assert {name: value.value for name, value in result.items()} == pytest.approx(expected, abs=1e-7, nan_ok=True)
    for name, value in result.items():
        assert math.isnan(value.value) == bool(value.reason), name
    assert "several" in result["ncti"].reason


def test_default_measures_and_their_intervals(task):
    result = measure_all(task)
    assert tuple(result) == DEFAULT == ("iimm", "iimm_intra", "iimm_inter", "silhouette", "correct_pair")
    score = jackknife(task.image_features, task.text_features, task.labels).score
    assert (result["iimm"].low, result["iimm"].high) == (pytest.approx(score.low), pytest.approx(score.high))
    assert result["silhouette"].low is None
    pairs = (task.image_features.double() * task.text_features.double()[task.labels]).sum(dim=1).numpy()
    error = pairs.std(ddof=1) / math.sqrt(60)
    # Student's 97.5 % quantile with 59 degrees of freedom.
    assert result["correct_pair"].high == pytest.approx(pairs.mean() + 2.000995 * error, rel=1e-6)
    assert list(measure_all(task, ["gbc", "iimm"])) == ["gbc", "iimm"]


def test_a_function_of_several_measures_runs_once(task, monkeypatch):
    calls = []
    monkeypatch.setattr("metrics.jackknife.jackknife", lambda *a: calls.append(a) or jackknife(*a))
    measure_all(task)
    assert len(calls) == 1


def test_other_kinds_of_arrays(task):
    half = measure_all(Features(task.image_features.half(), task.labels.int(), task.text_features.half()), MEASURES)
    arrays = measure_all(
        Features(task.image_features.half().double().numpy(), task.labels.numpy(), task.text_features.half().numpy())
    )
    for name in DEFAULT:
        assert half[name].value == pytest.approx(arrays[name].value, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "reason", "still"),
    [
        (lambda x, y, t: (x, y * 0, t), "2 cl", {"iimm", "correct_pair", "text_text", "modality_gap", "silhouette_modality"}),
        (lambda x, y, t: (x * math.nan, y, t), "NaN", {"text_text"}),
        (lambda x, y, t: (x, y, t * math.nan), "text features contain NaN", None),
        (lambda x, y, t: (x[:0], y[:0], t), "", {"text_text"}),
        (lambda x, y, t: (x, y, t[:2]), "label 2 has no text: there are only 2 class texts", None),
        (lambda x, y, t: (x, y, t[:0]), "", None),
    ],
)
def test_undefined_measures_are_nan_with_the_reason(task, change, reason, still):
    result = measure_all(Features(*change(*task[:3])), MEASURES)
    texts = {"iimm", "iimm_intra", "iimm_inter", "correct_pair", "leep", "nce", "modality_gap"}
    for name, value in result.items():
        if still is None:
            undefined = name in texts
        else:
            undefined = name not in still | ({"iimm_intra", "iimm_inter"} if "iimm" in still else set())
        if undefined:
            assert math.isnan(value.value) and reason in value.reason and value.reason, name
        assert math.isnan(value.value) == bool(value.reason), name


def test_few_images(task):
    two = measure_all(Features(task.image_features[:2], task.labels[:2], task.text_features), MEASURES)
    assert two["iimm"] == (iimm(task.image_features[:2], task.text_features, task.labels[:2]).score, None, None, "")
    one = measure_all(Features(task.image_features[:1], task.labels[:1], task.text_features))
    assert "at least 2 images" in one["iimm"].reason and one["correct_pair"].low is None
    nine = measure_all(Features(task.image_features[:9], task.labels[:9], task.text_features), ["hscore"])
    assert "(n = 9, d = 8)" in nine["hscore"].reason


def test_mistakes(task):
    with pytest.raises(UserError, match=r"Unknown measure 'silouette'\. Did you mean silhouette"):
        measure_all(task, ["silouette"])
    with pytest.raises(ValueError, match=r"expected image features \[N, d\]"):
        measure_all(task._replace(labels=task.labels[:3]))
    with pytest.raises(ValueError, match=r"\(4, 7\)"):
        measure_all(task._replace(text_features=task.text_features[:, :7]))


def test_the_table_is_complete_and_light():
    assert set(DEFAULT) <= set(MEASURES)
    for name, described in MEASURES.items():
        assert described.meaning.endswith(".") and described.higher and described.source, name
    code = "import sys, metrics.suite; print(*{'torch', 'numpy', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_measuring_changes_nothing(task):
    stored = [part.clone() for part in task[:3]]
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    measure_all(task, MEASURES)
    assert all(torch.equal(a, b) for a, b in zip(task[:3], stored, strict=True))
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


def test_names_asked_for():
    assert select_measures(["gbc", "iimm", "gbc"]) == ("iimm", "gbc"), (
        "in the table's order, so that a run's key does not depend on it"
    )
    assert select_measures(["all"]) == ONE_MODEL and set(MEASURES) - set(ONE_MODEL) == {"ncti"}
    assert select_measures(["cka", "all"], ["cka"]) == (*ONE_MODEL, "cka")
    assert select_measures(["ncti", "all"]) == tuple(MEASURES)
    assert select_measures([]) == ()
    with pytest.raises(UserError, match=r"Unknown measure 'hscor'\. Did you mean hscore\?"):
        select_measures(["all", "hscor"])
    with pytest.raises(UserError, match="Unknown measure 'cka'"):
        select_measures(["cka"])
