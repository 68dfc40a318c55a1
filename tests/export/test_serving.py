"""The requests to TensorFlow Serving in README, asked of the signatures themselves.

The server reads a request against a signature as `answer` does
(tensorflow_serving/util/json_tensor.cc): every input must be there, and takes the type
of the signature.
"""

import json

import numpy as np
import tensorflow as tf

from ptb_lm.inference.arguments import FUNCTIONS
from tests.support.documents import README, marked

# The server refuses signatures without inputs (tensorflow/serving issue 1676).
NOT_BY_REST = {"vocabulary", "metadata"}


def requests():
    """The lines of the block."""
    lines = marked(README, "requests").splitlines()
    assert (lines[0], lines[-1]) == ("```json", "```")
    return lines[1:-1]


def answer(model, request):
    """Outputs of a signature, as JSON has them."""
    assert request.keys() == {"signature_name", "inputs"}
    signature = model.signatures[request["signature_name"]]
    _, specs = signature.structured_input_signature
    assert request["inputs"].keys() == specs.keys()
    inputs = {
        name: tf.constant(request["inputs"][name], spec.dtype)
        for name, spec in specs.items()
    }
    for name, spec in specs.items():
        assert spec.shape.is_compatible_with(inputs[name].shape), name
    outputs = signature(**inputs)
    for name, value in outputs.items():
        assert not name.endswith("_bytes"), "the server writes these in base64"
        assert value.dtype != tf.float64 or np.isfinite(value.numpy()).all()
    return {name: value.numpy().tolist() for name, value in outputs.items()}


def test_every_signature_with_inputs_has_a_request():
    names = [line.split('"')[3] for line in requests()]
    assert sorted(names) == sorted(set(FUNCTIONS) - NOT_BY_REST)


def test_the_server_finds_these_signatures(saved_model):
    assert set(saved_model.signatures) == set(FUNCTIONS)
    for name in NOT_BY_REST:
        assert saved_model.signatures[name].structured_input_signature == ((), {})


def test_requests(saved_model, live_model):
    """One after the other, each with the state that the one before gave."""
    state, answers = None, {}
    for line in requests():
        request = json.loads(line.replace("STATE", json.dumps(state)))
        found = answers[request["signature_name"]] = answer(saved_model, request)
        state = found.get("state", state)
    texts = ["the company said", "said company the"]
    expected = live_model.score(texts, context="\n")["perplexities"].numpy()
    np.testing.assert_allclose(answers["score"]["perplexities"], expected, rtol=1e-5)
    drawn = live_model.generate(
        ["the company said"], num_tokens=50, temperature=0.8, top_k=40, seed=7
    )
    assert answers["generate"]["ids"] == drawn["ids"].numpy().tolist()
    assert np.shape(answers["step"]["log_probabilities"]) == (1, 3, 23)
    assert len(answers["next_tokens"]["tokens"][0]) == 5
    assert np.shape(answers["draw"]["ids"]) == (1, 5)
    assert answers["initial_state"]["state"] == np.zeros([1, 40]).tolist()
