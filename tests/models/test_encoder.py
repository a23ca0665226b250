"""The dual encoder: unit features, exact truncation of causal text, pixels in uint8."""

import torch
import torch.nn.functional as F

STRINGS = ["a", "a cat", "a much longer sentence than that"]


def test_truncated_text_gives_the_full_context_features(toy_encoder):
    encoder = toy_encoder().double()
    for strings in (STRINGS[:1], STRINGS[:2], STRINGS):
        tokens = encoder.tokenize(strings)
        torch.testing.assert_close(encoder.encode_texts(tokens), encoder.encode_texts_plain(tokens), rtol=1e-12, atol=1e-12)


def test_truncated_text_gives_the_full_context_gradients(toy_encoder):
    encoder = toy_encoder().double()
    tokens = encoder.tokenize(STRINGS[:2])
    direction = torch.randn(2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for encode in (encoder.encode_texts, encoder.encode_texts_plain):
        encoder.zero_grad()
        (encode(tokens) * direction).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-12)


def test_truncation_shortens_what_the_tower_sees(encoder, monkeypatch):
    seen = []
    forward = encoder.clip.transformer.forward
    monkeypatch.setattr(encoder.clip.transformer, "forward", lambda x, **kw: seen.append(x.shape[1]) or forward(x, **kw))
    encoder.encode_texts(encoder.tokenize(["cat"]))
    assert seen == [5], "start, three bytes, end"


def test_text_without_an_end_token_is_pooled_where_open_clip_pools_it(toy_encoder):
    """open_clip pools at the largest id, wherever it is."""
    encoder = toy_encoder().double()
    tokens = torch.tensor([[298, 5, 250, 9, 3] + [0] * 27, [298, 7, 299, 0, 0] + [0] * 27])
    torch.testing.assert_close(encoder.encode_texts(tokens), encoder.encode_texts_plain(tokens), rtol=1e-12, atol=1e-12)


def test_a_tower_that_is_not_causal_gets_the_full_context(toy_encoder):
    encoder = toy_encoder().double()
    encoder.clip.attn_mask = None
    tokens = encoder.tokenize(["cat"])
    torch.testing.assert_close(encoder.encode_texts(tokens), encoder.encode_texts_plain(tokens), rtol=0, atol=0)


def test_pixels(encoder):
    pixels = torch.randint(0, 256, (2, 3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    normalised = (pixels.float() / 255 - 0.5) / 0.27
    features = encoder.encode_images(pixels)
    torch.testing.assert_close(features, encoder.encode_images(normalised))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(features, F.normalize(encoder.clip.encode_image(normalised), dim=1))


def test_logits_use_scale_and_bias(encoder):
    image, text = torch.eye(32)[:2], torch.eye(32)[:3]
    with torch.no_grad():
        encoder.clip.logit_scale.fill_(torch.log(torch.tensor(7.0)))
        torch.testing.assert_close(encoder.logits(image, text), 7 * torch.eye(3)[:2])
        encoder.clip.logit_bias = torch.nn.Parameter(torch.tensor(-2.0))
        torch.testing.assert_close(encoder.logits(image, text), 7 * torch.eye(3)[:2] - 2)


def test_loading_weights_marks_the_text_tower_as_changed(encoder):
    before = encoder.text_version
    encoder.load_state_dict(encoder.state_dict())
    assert encoder.text_version > before
