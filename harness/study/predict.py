"""`predict`: predict the gain and cost of fine-tuning on a dataset from a study of other datasets, without training."""

from __future__ import annotations

import pandas as pd

import models
from benchmarks.catalog import Source, shadows
from harness.config.settings import check_values
from harness.display.data_summary import print_remarks
from harness.display.screen import Screen
from harness.run import environment
from harness.study.evaluation import with_prompts
from harness.study.fine_tuning import measure_domain
from harness.study.forecast import Advice, check_weight, forecast
from harness.study.measure import read_train_and_test, sources_of
from harness.study.measure_config import MeasureConfig
from harness.study.predict_config import PredictConfig
from harness.study.predict_screen import print_prediction
from harness.study.prediction import Prediction
from harness.study.predictors import BEFORE, with_baselines
from harness.study.selection import check, choose_predictors
from harness.study.table_check import check_cells
from metrics import study_table
from metrics.suite import Value
from models.prompt_reader import check_prompts
from models.registry import UserError

ANY_SIZE = ("iimm", "iimm_intra", "iimm_inter", "correct_pair", "text_text", BEFORE)
"""Means over images or pairs, whose expectation does not depend on the number of images."""


def predict(config: PredictConfig, screen: Screen | None = None) -> Prediction:
    """Measure a dataset, predict gain and forgetting of each tuning, and print the predictions.

    Without a measure in the configuration, the predictors are those that won on left-out domains of the study
    (`harness.study.selection`). A dataset that is a domain of the study is left out of the choice and of the lines. Its
    observed outcomes are shown next to the predictions.

    Args:
        config: dataset, study and measure.
        screen: output; None makes one.

    Returns:
        Predictions with intervals, nearest domains, warnings and advice.

    Raises:
        UserError: for a study that is missing, damaged, of another model, or has fewer than four domains; for a dataset whose
            measure is undefined; for missing or broken data.
    """
    check_weight(config.weight)
    check_values(config)
    screen = screen or Screen()
    path = study_table.table_path(config.study)
    rows = study_table.read(path)
    check_cells(rows, path.parent)
    rows = study_table.of_model(rows, config.model, config.pretrained)
    measures = study_table.measure_columns(rows)
    if config.measure is not None and config.measure not in measures:
        raise UserError(f"The study has no measure {config.measure!r}. It has {', '.join(measures) or 'no measures'}.")
    source = _source(config)
    for note in shadows([source]):
        screen.say(note, style="yellow")
    model, pretrained = _model(config, rows)
    encoder = models.load(model, pretrained).to(environment.device_of(config.device))
    for note in encoder.notes:
        screen.say(f"note: {note}")
    try:
        domain = read_train_and_test(source, screen)
    finally:
        screen.end()
    print_remarks([domain], screen.say)
    warnings = list(check_prompts(encoder.reader, [domain]))
    rows = with_baselines(rows)
    others = rows[~((rows.domain == source.name) & (rows.edition == source.edition))]
    names = (config.measure,) if config.measure is not None else choose_predictors(others).names
    prompts = set(rows.prompts.dropna()) if "prompts" in rows.columns else set()
    # The accuracy before training is taken with the prompts of the study.
    domain = with_prompts(domain, prompts.pop()) if len(prompts) == 1 else domain
    measured = measure_domain(domain, encoder, [name for name in names if name != BEFORE], config.measure_n, config.seed)
    zero_shot = measured.zero_shot.percent
    predictors = {name: Value(zero_shot) if name == BEFORE else measured.values[name] for name in names}
    for name, value in predictors.items():
        if value.value != value.value:
            raise UserError(f"{name} of {source.name} is undefined: {value.reason or 'not a number'}.")
    predicted = forecast(
        rows,
        names,
        [value.value for value in predictors.values()],
        leave_out=(source.name, source.edition),
        zero_shot=zero_shot,
        weight=config.weight,
    )
    warnings += predicted.warnings
    if domain.train is None:
        warnings.insert(0, f"{source.name} has no training images. Its test images were measured instead")
    editions = sorted(set(rows.edition))
    if source.edition not in editions:
        warnings.append(
            f"the domains of the study are of the {', '.join(editions)} edition, but {source.name} is of the {source.edition} "
            "edition. Its tasks may differ from those of the study"
        )
    for name in names:
        warnings += _size_warning(rows, name, measured.n)
    prediction = Prediction(
        dataset=source.name,
        edition=source.edition,
        value=next(iter(predictors.values()), Value(zero_shot)),
        n=measured.n,
        zero_shot=zero_shot,
        table=predicted.table,
        nearest=predicted.nearest,
        warnings=warnings,
        advice=within_reach(predicted.advice, predicted.table, zero_shot, config.weight),
        predictors=predictors,
        checks=None if config.measure is not None else check(others),
    )
    print_prediction(prediction, rows, config, screen)
    return prediction


def within_reach(advice: Advice, table: pd.DataFrame, zero_shot: float, weight: float) -> Advice:
    """Return the advice, or advice against fine-tuning if even 100 % accuracy does not outweigh the predicted forgetting.

    A line may predict a gain beyond 100 % accuracy.

    Args:
        advice: advice of `forecast`.
        table: predictions of `forecast`.
        zero_shot: zero-shot accuracy of the task in percent.
        weight: weight of forgetting.
    """
    if advice.tuning is None:
        return advice
    predicted, room = table[table.tuning == advice.tuning].set_index("outcome").predicted, 100 - zero_shot
    if predicted["gain"] <= room or room > weight * predicted["forgetting"]:
        return advice
    sentence = (
        f"do not fine-tune. At most {room:.1f} points can be gained, and {advice.tuning} is predicted to change the other "
        f"domains by {-predicted['forgetting']:+z.1f}"
    )
    return advice._replace(strategy=None, tuning=None, sentence=sentence)


def _size_warning(rows: pd.DataFrame, measure: str, n: int) -> list[str]:
    """Warn if the measure depends on the sample size and n differs from the study's by more than a factor of 2 (our choice)."""
    if measure in ANY_SIZE or "measured" not in rows.columns:
        return []
    low, high = rows.measured.min(), rows.measured.max()
    if low / 2 <= n <= 2 * high:
        return []
    return [f"{measure} depends on the number of images: {n:,} here, {low:,.0f} to {high:,.0f} in the study"]


def _source(config: PredictConfig) -> Source:
    shared = {name: getattr(config, name) for name in ("edition", "data_root", "classnames", "templates")}
    [source] = sources_of(MeasureConfig((config.dataset,), **shared))
    return source


def _model(config: PredictConfig, rows: pd.DataFrame) -> tuple[str, str | None]:
    """Return the chosen model, or the study's. Raises UserError if the study was made with another model."""
    name, tag, _ = study_table.study_model(rows)
    model = name if config.model is None else config.model
    pretrained = config.pretrained or (tag or None if config.model is None else None)
    study_table.check_model(rows, model, pretrained)
    return model, pretrained
