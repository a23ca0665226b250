"""Joint training: every row from the initial weights, with images of all tasks so far."""

import copy

import pytest
import torch

from benchmarks.scenario import scenario
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.joint import Joint

QUICK = {"iterations": 6, "lr": 3e-3, "batch_size": 8, "warmup": 1}


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1), toy_domain("c", 2, seed=2)])


@pytest.mark.slow
def test_the_first_row_is_fine_tuning_to_the_bit(toy_encoder, stream, trained, same):
    plain, found = (trained(method, toy_encoder(), stream.train_stream[:1]) for method in (Strategy, Joint))
    assert same(plain.weights(), found.weights())


@pytest.mark.slow
def test_each_row_starts_at_the_initial_weights(toy_encoder, stream, same):
    class Spy(Joint):
        def before_experience(self):
            super().before_experience()
            self.began = {name: tensor.clone() for name, tensor in self.encoder.state_dict().items()}

    strategy = Spy(encoder=toy_encoder(), options=Joint.Options(**QUICK))
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert same(strategy.began, toy_encoder().state_dict()) and not same(strategy.began, strategy.encoder.state_dict())


@pytest.mark.slow
def test_batches_come_from_the_tasks_in_turn_each_with_its_own_head(toy_encoder, stream, trained):
    seen = []

    class Spy(Joint):
        def compute_loss(self, batch):
            loss = super().compute_loss(batch)
            (task,) = set(batch.task_labels.tolist())
            prompts = self.experience.stream_domains[task].prompts(0)
            texts = self.encoder.encode_texts_plain(self.encoder.tokenize(prompts))
            logits = self.encoder.clip.logit_scale.exp() * self.encoder.encode_images(batch.images) @ texts.T
            wanted = torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=0.2)
            torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
            seen.append(task)
            return loss

    trained(Spy, toy_encoder(), stream.train_stream, joint_budget="task")
    assert seen[:6] == [0] * 6 and sorted(seen[6:12]) == [0] * 3 + [1] * 3 and sorted(seen[12:]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "updates"), [("task", [6, 6, 6]), ("sum", [6, 12, 18])])
def test_budget(toy_encoder, stream, budget, updates):
    strategy = Joint(encoder=toy_encoder(), options=Joint.Options(**QUICK, joint_budget=budget))
    assert [strategy.budget(e) for e in stream.train_stream] == updates, "asked before anything is trained"
    epochs = Joint(encoder=toy_encoder(), options=Joint.Options(**{**QUICK, "epochs": 1}, joint_budget="sum"))
    assert [epochs.budget(e) for e in stream.train_stream] == [7, 14, 21]
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.train(stream.train_stream[1], eval_streams=[])
    assert len(strategy.history) == updates[1]


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_the_whole_one(toy_encoder, stream, trained, same, go_on):
    first, second, _ = stream.train_stream
    whole = trained(Joint, toy_encoder(), [first])
    saved, state = copy.deepcopy(whole.encoder.state_dict()), whole.state()
    whole.train(second, eval_streams=[])
    resumed = Joint(encoder=toy_encoder(), options=Joint.Options(**QUICK))
    go_on(resumed, saved, state, second)
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict())


@pytest.mark.slow
def test_it_learns_all_tasks(toy_encoder, stream, trained):
    strategy = trained(Joint, toy_encoder(), [stream.train_stream[1]], iterations=40, warmup=4, lr=1e-3)
    strategy.model.eval()
    for experience in stream.train_stream[:2]:
        train = experience.domain.train
        with torch.no_grad():
            found = strategy.classifier(train.images, experience.task_label).argmax(1)
        assert (found == torch.tensor(train.targets)).float().mean() > 0.8


def test_no_probe(toy_encoder):
    strategy = Joint(encoder=toy_encoder(), options=Joint.Options(**QUICK))
    strategy.encoder.tuning = "probe"
    with pytest.raises(UserError, match="tuning probe"):
        strategy.prepare_run()


@pytest.mark.parametrize(("config", "budget"), [({}, "task"), ({"edition": "full"}, "sum")])
def test_settings_of_the_benchmark(config, budget):
    found = resolve(RunConfig(strategy="joint", benchmark="mtil", **config)).options
    assert found.joint_budget == budget and found.lr_by_task == {}, "one rate for batches of all tasks"
