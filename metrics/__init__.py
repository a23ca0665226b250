"""Measured quantities: pure functions on arrays, the evaluator, and the Avalanche plugins that call them.

Summary numbers of an accuracy matrix:
    matrix              Transfer, Average, Last, Forgetting, BWT and Retention of a matrix R [T, T]
    definitions         one line on each of them, for help and tables
    by_task             the same numbers as weighted means over tasks
    comparison          two methods on the same tasks and seeds: difference and confidence interval
    evaluate            accuracy of a classifier on a dataset

Measures of one task from one forward pass:
    suite               all of them by name
    iimm, jackknife     the inter-intra modal measure and its uncertainty
    silhouette          clustering by class and by modality
    similarity          mean cosines of images and class texts
    transferability     LogME, LEEP, NCE, H-score, TransRate, GBC
    discriminant        SFDA and NCTI
    linear_probe        cross-validated logistic regression
    cka, weight_cosine  distance between two models: features and weights
    sums, labelled      the class sums and the checked arrays that the measures start from
    embedding           images and prompts of a task through an encoder

Studies and training:
    regression          least-squares lines through tasks, with intervals
    study_table         the table of a study
    plugins             Avalanche plugins: accuracy matrix, retention, measures
"""
