"""Modules in the towers of every family: nothing changes without an output, and the output has the effect of the formula."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from models import places
from models.added import OfTask, add_for, stored_bytes
from models.attention import SelfAttention
from models.blocks import Matrix, blocks, matrices
from models.registry import UserError
from models.route import PLAIN, current_route, route_key, routed
from models.tuning import apply, trainable, trains_images, trains_text_tower

FAMILIES = ("tiny", "tiny-siglip", "tiny-coca", "tiny-eva02")
PIXELS = torch.randint(0, 256, (3, 3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
WORDS = ["a cat", "a photo of two dogs", "x"]


class Scaled(nn.Module):
    """x -> weight * x on any input, or another function of it."""

    def __init__(self, function=lambda x: x):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.zeros(())), function

    def forward(self, *inputs):
        return self.weight * self.function(*inputs)


def in_all_places(encoder, tower):
    """Place one module everywhere in a tower and return its weight."""
    module = Scaled()
    for block in blocks(encoder, tower):
        places.beside_mlp(encoder, block, module)
        places.in_attention(encoder, block, module)
    return module


def features(encoder):
    return encoder.encode_images(PIXELS), encoder.encode_texts(encoder.tokenize(WORDS))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    torch.manual_seed(0)
    return models.load(request.param, "random").eval()


@pytest.fixture
def encoder(family):
    return copy.deepcopy(family)


@pytest.mark.slow
def test_without_output_nothing_changes_and_gradients_arrive(encoder):
    with torch.no_grad():
        before = features(encoder)
    apply(encoder, "frozen")
    module = Scaled()
    linear = Scaled()
    for tower in ("image", "text"):
        for block in blocks(encoder, tower):
            places.beside_mlp(encoder, block, module)
            places.in_attention(encoder, block, module)
            square = [matrix for role in "qkvo" for matrix in matrices(block)[role]]
            assert {places.matrix_shape(encoder, m) for m in square} == {(128, 128)}
            for matrix in square:
                places.around_linear(encoder, matrix, linear)
    after = features(encoder)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=0)
    for each in after:
        gradients = torch.autograd.grad(each[:, 0].sum(), [module.weight, linear.weight], retain_graph=True)
        assert all(gradient != 0 for gradient in gradients)
    assert trainable(encoder) == [module.weight, linear.weight] and encoder.added.keys() == {
        key for key in encoder.added if key.startswith(("image:mlp-", "image:linear-"))
    }


@pytest.mark.slow
def test_every_place_has_its_effect_alone(encoder):
    """With weight 1: a block whose MLP is parallel to x -> state, whose attention returns its queries, matrices W + 1."""
    with torch.no_grad():
        plain = features(encoder)
    for index, tower in enumerate(("image", "text")):
        block = blocks(encoder, tower)[1]
        layers = block.module
        for place in (places.beside_mlp, places.in_attention):
            changed = copy.deepcopy(encoder)
            module = Scaled()
            place(changed, next(b for b in blocks(changed, tower) if b.path == block.path), module)
            module.weight.data.fill_(1.0)
            with torch.no_grad():
                now = features(changed)
                assert not torch.allclose(now[index], plain[index], atol=1e-3)
                torch.testing.assert_close(now[1 - index], plain[1 - index], atol=0, rtol=0)
                with routed(PLAIN):
                    torch.testing.assert_close(features(changed)[index], plain[index], atol=1e-6, rtol=0)
        # W + 1 as weights.
        for role in ("q", "v", "o"):
            (matrix,) = matrices(block)[role]
            by_weight, by_place = copy.deepcopy(encoder), copy.deepcopy(encoder)
            tensor = getattr(by_weight.clip.get_submodule(matrix.path), matrix.tensor)
            rows = tensor.data if matrix.third is None else tensor.data.chunk(3)[matrix.third]
            rows += torch.eye(128)
            module = Scaled()
            places.around_linear(by_place, matrix, module)
            module.weight.data.fill_(1.0)
            with torch.no_grad():
                torch.testing.assert_close(features(by_place)[index], features(by_weight)[index], atol=5e-6, rtol=0)
        assert layers is block.module


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fc", "proj"])
def test_a_linear_layer_of_an_mlp(encoder, role):
    for tower in ("image", "text"):
        for matrix in matrices(blocks(encoder, tower)[0])[role]:
            rows, columns = places.matrix_shape(encoder, matrix)
            update = nn.Linear(columns, rows, bias=False)
            by_weight = copy.deepcopy(encoder)
            getattr(by_weight.clip.get_submodule(matrix.path), matrix.tensor).data.add_(update.weight.data)
            changed = copy.deepcopy(encoder)
            places.around_linear(changed, matrix, update)
            with torch.no_grad():
                for one, other in zip(features(changed), features(by_weight), strict=True):
                    torch.testing.assert_close(one, other, atol=5e-6, rtol=0)


@pytest.mark.slow
def test_a_branch_of_attention_by_formula(encoder):
    """Prefix values that are all v add W_o v to the block's attention at every position."""
    block = blocks(encoder, "image")[0]
    _, heads, width = places.shape(block)
    assert heads * width == 128
    value = torch.randn(heads, width)
    attention, seen = block.module.attn, []
    attention.register_forward_hook(lambda m, i, o: seen.append(o[0] if isinstance(o, tuple) else o))
    with torch.no_grad():
        encoder.encode_images(PIXELS)
        places.in_attention(encoder, block, Prefix(value))
        attention.register_forward_hook(lambda m, i, o: seen.append(o[0] if isinstance(o, tuple) else o))
        encoder.encode_images(PIXELS)
    output = attention.out_proj if hasattr(attention, "out_proj") else attention.proj
    torch.testing.assert_close(seen[-1] - seen[0], (output.weight @ value.flatten()).expand_as(seen[0]), atol=1e-5, rtol=0)


class Prefix(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, queries):
        batch, heads, length, width = queries.shape
        return self.value[None, :, None].expand(batch, heads, length, width)


@pytest.mark.slow
def test_queries_are_those_of_the_attention(encoder):
    """They are W_q x + bias, divided into heads."""
    block = blocks(encoder, "image")[0]
    attention, queries = block.module.attn, []
    places.in_attention(encoder, block, Scaled(lambda q: queries.append(q) or q))
    inputs = []
    attention.register_forward_pre_hook(lambda m, i: inputs.append(i[0]))
    with torch.no_grad():
        encoder.encode_images(PIXELS)
    if hasattr(attention, "in_proj_weight"):
        fused, bias = attention.in_proj_weight[:128], attention.in_proj_bias[:128]
    elif attention.qkv is not None:
        fused, bias = attention.qkv.weight[:128], attention.qkv.bias[:128]
    else:
        fused, bias = attention.q_proj.weight, attention.q_proj.bias
    expected = (inputs[0] @ fused.T + bias).view(3, -1, attention.num_heads, 128 // attention.num_heads).transpose(1, 2)
    torch.testing.assert_close(queries[0], expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_tokens_at_the_input_of_the_image_tower(encoder):
    """They change the features, never the number of positions after the blocks; without tokens they stay the same."""
    with torch.no_grad():
        plain = encoder.encode_images(PIXELS)
    changed, lengths = copy.deepcopy(encoder), []
    prompt = Tokens(torch.randn(5, 128))
    places.image_tokens(changed, prompt)
    inner, last = blocks(changed, "image")[1].module, blocks(changed, "image")[-1].module
    for module in (inner, last):
        module.register_forward_hook(lambda m, i, o: lengths.append(o.shape[1]))
    with torch.no_grad():
        assert not torch.allclose(changed.encode_images(PIXELS), plain, atol=1e-3)
        assert lengths[0] == lengths[1] + 5
        with routed(PLAIN):
            torch.testing.assert_close(changed.encode_images(PIXELS), plain, atol=1e-6, rtol=0)
        prompt.tokens = None
        torch.testing.assert_close(changed.encode_images(PIXELS), plain, atol=1e-6, rtol=0)


class Tokens(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.tokens = tokens

    def forward(self, x):
        return self.tokens


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [True, False])
def test_embeddings_in_place_of_ids(encoder, cuts):
    encoder.cuts_texts = cuts
    tokens, others = encoder.tokenize(["a cat", "a dog"]), encoder.tokenize(["a dog", "a cat"])
    layer = encoder.token_embedding
    with torch.no_grad():
        swapped = encoder.encode_texts(tokens, embeddings=layer(others))
        torch.testing.assert_close(swapped, encoder.encode_texts(others), atol=1e-6, rtol=0)
        assert not torch.allclose(swapped, encoder.encode_texts(tokens), atol=1e-3)
        places.token_embeddings(encoder, Swap())
        torch.testing.assert_close(encoder.encode_texts(tokens), encoder.encode_texts(others).flip(0), atol=1e-6, rtol=0)
        with routed(PLAIN):
            torch.testing.assert_close(encoder.encode_texts(others), swapped, atol=1e-6, rtol=0)
    given = layer(tokens).detach().requires_grad_()
    encoder.microbatch = 1
    encoder.encode_texts(tokens, embeddings=given)[:, 0].sum().backward()
    assert bool((given.grad.abs().sum(dim=(1, 2)) > 0).all())


class Swap(nn.Module):
    """The embeddings of the batch in reverse order."""

    def forward(self, tokens, embeddings):
        return embeddings.flip(0)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [None, 1, 2])
def test_each_image_has_its_route(rows):
    """Also in chunks, and where the backward pass runs a chunk again."""
    torch.manual_seed(0)
    encoder = models.load("tiny", "random").eval()
    block = blocks(encoder, "image")[2]
    places.beside_mlp(encoder, block, OfTask(encoder, "expert"))
    for task in (0, 1):
        add_for(encoder, task, "image", "expert", nn.Linear(128, 128))
    assert stored_bytes(encoder) == dict.fromkeys((0, 1), 4 * (128 * 128 + 128))
    encoder.microbatch = rows
    with routed(torch.tensor([1, 0, 7])):
        mixed = encoder.encode_images(PIXELS)
    one_by_one = []
    for route, image in zip((1, 0, 7), PIXELS, strict=True):
        with routed(route):
            one_by_one.append(encoder.encode_images(image[None]))
    torch.testing.assert_close(mixed, torch.cat(one_by_one), atol=2e-6, rtol=0)
    with routed(PLAIN):
        torch.testing.assert_close(mixed[2:], encoder.encode_images(PIXELS[2:]), atol=2e-6, rtol=0)
    mixed[0, 0].backward()
    gradients = [encoder.grown[str(task)]["image:expert"].weight.grad for task in (0, 1)]
    assert (gradients[0] is None or not gradients[0].any()) and gradients[1].any()
    # A copy calls its own modules.
    twin = copy.deepcopy(encoder)
    twin.grown["0"]["image:expert"].weight.data.zero_()
    with torch.no_grad(), routed(0):
        assert not torch.allclose(twin.encode_images(PIXELS), encoder.encode_images(PIXELS), atol=1e-4)


@pytest.mark.slow
def test_text_features_are_cached_by_route(toy_domain):
    from models.classifier import PromptClassifier

    torch.manual_seed(0)
    encoder = models.load("tiny", "random").eval()
    block = blocks(encoder, "text")[0]
    places.beside_mlp(encoder, block, OfTask(encoder, "expert"))
    for task in (0, 1):
        add_for(encoder, task, "text", "expert", nn.Linear(128, 128))
    classifier, passes = PromptClassifier(encoder).eval(), []
    block.module.register_forward_hook(lambda *_: passes.append(current_route()))
    classifier.register_domain(0, toy_domain("a", 3))
    heads = []
    with torch.no_grad():
        for route in (0, 1, None, PLAIN, 0, 1, None, PLAIN):
            with routed(route):
                heads.append(classifier.text_features(0))
    assert all(torch.equal(one, other) for one, other in zip(heads[:4], heads[4:], strict=True))
    assert torch.equal(heads[2], heads[3]) and not torch.allclose(heads[0], heads[1], atol=1e-3)
    assert list(dict.fromkeys(passes)) == [0, 1, None, PLAIN] and len(passes) == 4 * 2  # two templates
    encoder.grown["1"]["text:expert"].weight.data.zero_()
    encoder.touch_text()
    with torch.no_grad(), routed(1):
        assert not torch.equal(classifier.text_features(0), heads[1])


def test_routes_without_a_key():
    with routed(torch.tensor([0])), pytest.raises(TypeError, match="has no text features"):
        route_key()
    with routed((1, 0.5)):
        assert route_key() == (1, 0.5)
    assert current_route() is None


def test_refused_places():
    encoder = models.load("tiny", "random")
    block = blocks(encoder, "image")[0]
    places.beside_mlp(encoder, block, nn.Identity())
    with pytest.raises(UserError, match=r"There are two modules called 'mlp-visual-transformer-resblocks-0' in the encoder"):
        places.beside_mlp(encoder, block, nn.Sequential())
    with pytest.raises(UserError, match=r"cannot be called 'a\.b'"):
        add_for(encoder, 0, "image", "a.b", nn.Identity())
    with pytest.raises(UserError, match="'picture'; it must be one of image, text, both, none"):
        add_for(encoder, 0, "picture", "a", nn.Identity())
    with pytest.raises(ValueError, match="already has adapters or added modules"):
        apply(encoder, "full")
    plain = nn.MultiheadAttention(8, 2, batch_first=True)
    encoder.clip.visual.other = plain
    assert not isinstance(plain, SelfAttention)
    with pytest.raises(UserError, match=r"has no input at hand of the matrix visual\.other\.in_proj_weight"):
        places.around_linear(encoder, Matrix("visual.other", "in_proj_weight", 0, False), nn.Identity())
    block.module.attn.batch_first = False
    with pytest.raises(UserError, match="sequences first"):
        places.in_attention(encoder, block, nn.Identity())


def test_watching_sees_inputs_and_ends():
    encoder = models.load("tiny", "random").eval()
    block = blocks(encoder, "image")[0]
    by_role = matrices(block)
    watched, seen = [by_role["q"][0], by_role["o"][0], by_role["fc"][0]], {}
    with torch.no_grad():
        plain = encoder.encode_images(PIXELS)
        with places.watching(encoder, watched, lambda index, x: seen.update({index: x})):
            torch.testing.assert_close(encoder.encode_images(PIXELS), plain, atol=2e-6, rtol=0)
        known = dict(seen)
        assert torch.equal(encoder.encode_images(PIXELS), plain) and seen == known
    weight, bias = block.module.attn.in_proj_weight, block.module.attn.in_proj_bias
    q, k, v = (
        t.view(3, -1, block.module.attn.num_heads, 128 // block.module.attn.num_heads).transpose(1, 2)
        for t in F.linear(seen[0], weight, bias).chunk(3, dim=-1)
    )
    merged = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(seen[1], merged, atol=1e-5, rtol=0)
    assert seen[2].shape == seen[0].shape


def test_which_caches_hold():
    encoder = models.load("tiny", "random")
    apply(encoder, "frozen")
    assert not trains_images(encoder) and not trains_text_tower(encoder)
    module = nn.Linear(128, 128)
    places.beside_mlp(encoder, blocks(encoder, "text")[0], module)
    assert trains_text_tower(encoder) and not trains_images(encoder)
    module.requires_grad_(False)
    assert not trains_text_tower(encoder)
    # A frozen module of the image tower counts: its output depends on the route.
    places.beside_mlp(encoder, blocks(encoder, "image")[0], nn.Linear(128, 128).requires_grad_(False))
    assert trains_images(encoder)
