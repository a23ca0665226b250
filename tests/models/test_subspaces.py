"""Bases of principal directions and low-rank residuals, against NumPy's eigenvectors and by hand."""

import numpy as np
import pytest
import torch

from models.subspaces import extended, principal, residual_factors


def test_principal_directions_by_hand():
    """Singular values 3, 2, 1: their squares are 9, 4, 1 of 14."""
    weight = torch.diag(torch.tensor([2.0, 3.0, 1.0]))
    assert principal(weight, 0.0).shape == (3, 0)
    one = principal(weight, 9 / 14)
    assert one.shape == (3, 1) and one.abs().flatten().tolist() == [0, 1, 0]
    assert principal(weight, 0.65).shape == (3, 2) and principal(weight, 13 / 14).shape == (3, 2)
    assert principal(weight, 1.0).shape == (3, 3)


def test_activations_extend_a_basis():
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(50, 6)) * np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    basis = np.linalg.qr(generator.normal(size=(6, 2)))[0]
    gram = activations.T @ activations
    outside = activations - activations @ basis @ basis.T
    values, directions = np.linalg.eigh(outside.T @ outside)
    total, inside = gram.trace(), np.square(activations @ basis).sum()
    count = next(k for k in range(5) if inside + values[::-1][:k].sum() >= 0.99 * total)
    assert 0 < count < 4
    found = extended(torch.from_numpy(basis), torch.from_numpy(gram), 0.99).numpy()
    assert found.shape == (6, 2 + count) and np.array_equal(found[:, :2], basis)
    assert np.allclose(found.T @ found, np.eye(2 + count), atol=1e-12)
    expected = directions[:, ::-1][:, :count]
    assert np.allclose(found[:, 2:] @ found[:, 2:].T, expected @ expected.T, atol=1e-9)
    # A basis that has enough gains nothing, and a full basis cannot gain.
    assert extended(torch.from_numpy(basis), torch.from_numpy(gram), 0.0).shape == (6, 2)
    assert extended(torch.eye(6), torch.from_numpy(gram), 1.0).shape == (6, 6)
    assert extended(torch.zeros(6, 0), torch.zeros(6, 6), 1.0).shape == (6, 0)


@pytest.mark.parametrize("rank", [2, 4])
def test_the_residual_of_a_gradient(rank):
    generator = np.random.default_rng(1)
    gradient, basis = generator.normal(size=(5, 6)), np.linalg.qr(generator.normal(size=(6, 2)))[0]
    residual = gradient @ (np.eye(6) - basis @ basis.T)
    left, values, right = np.linalg.svd(residual)
    factors = residual_factors(torch.from_numpy(gradient), torch.from_numpy(basis), rank)
    b, a = factors.b.numpy(), factors.a.numpy()
    assert np.allclose(b @ a, left[:, :rank] * values[:rank] @ right[:rank], atol=1e-12)
    assert np.allclose(a @ a.T, np.eye(rank), atol=1e-12) and np.allclose(a @ basis, 0, atol=1e-15)


def test_directions_without_a_gradient_stay_outside_the_basis():
    """A gradient of rank 1 leaves arbitrary directions, which must not reach into the basis."""
    basis = torch.eye(4)[:, :3]
    b, a = residual_factors(torch.ones(5, 1) @ torch.ones(1, 4), basis, 3)
    assert (a @ basis.double()).abs().max() < 1e-15
    assert torch.allclose((b @ a)[:, 3], torch.ones(5, dtype=torch.float64)) and (a.norm(dim=1) > 0.5).sum() == 1
