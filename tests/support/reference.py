"""A float64 NumPy reference of the language model, forward and backward.

Written from the equations alone (Zaremba et al. 2014, arXiv 1409.2329,
section 3; Cho et al. 2014 for the GRU), one time step and one matrix product
after the other, without regard to speed. It imports nothing of ``ptb_lm``, so
that the library can be tested against it.

Sequences are time-major, ``[time, batch, width]``, inside the layers; word ids
and logits are batch-major, ``[batch, time]`` and ``[batch, time, vocab]``.
Weights are laid out as Keras lays them out. The state of a layer is a tuple,
``(h, c)`` for an LSTM and ``(h,)`` for the others, each ``[batch, hidden]``; the
state of a model is a list of these, the lowest layer first.
"""

import itertools
from typing import NamedTuple

import numpy as np


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


# ---------------------------------------------------------------------------
# Recurrent layers.


def lstm_forward(x, h0, c0, kernel, recurrent_kernel, bias):
    """Run an LSTM layer over a sequence.

        i = sigmoid(x W_i + h R_i + b_i)      f = sigmoid(x W_f + h R_f + b_f)
        g = tanh(x W_g + h R_g + b_g)         o = sigmoid(x W_o + h R_o + b_o)
        c' = f * c + i * g                    h' = o * tanh(c')

    Args:
        x: [time, batch, in].
        h0: [batch, h].
        c0: [batch, h].
        kernel: [in, 4h], the columns in the order i, f, g, o.
        recurrent_kernel: [h, 4h].
        bias: [4h].

    Returns:
        outputs [time, batch, h], the final state (h, c), and a cache.
    """
    h, c = _float64(h0), _float64(c0)
    x, kernel, recurrent_kernel = map(_float64, (x, kernel, recurrent_kernel))
    outputs, steps = [], []
    for x_t in x:
        a = x_t @ kernel + h @ recurrent_kernel + bias  # [batch, 4h]
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        h_before, c_before = h, c
        c = f * c_before + i * g
        h = o * np.tanh(c)
        outputs.append(h)
        steps.append((x_t, h_before, c_before, i, f, g, o, c))
    return _stack(outputs, x, h), (h, c), (x, steps, kernel, recurrent_kernel, bias)


def lstm_backward(d_outputs, d_h_last, d_c_last, cache):
    """Back-propagate through `lstm_forward`.

    With dh and dc the derivatives by the step's own h' and c':

        dc  <- dc + dh * o * (1 - tanh(c')^2)
        da_i = dc * g * i (1 - i)             da_f = dc * c * f (1 - f)
        da_g = dc * i * (1 - g^2)             da_o = dh * tanh(c') * o (1 - o)
        dx = da W^T    dh_before = da R^T     dc_before = dc * f
        dW += x^T da   dR += h_before^T da    db += sum over the batch of da

    Args:
        d_outputs: [time, batch, h].
        d_h_last: [batch, h], derivative by the final h, beside d_outputs[-1].
        d_c_last: [batch, h].
        cache: from `lstm_forward`.

    Returns:
        dx [time, batch, in], dh0, dc0 [batch, h], dkernel [in, 4h],
        drecurrent [h, 4h], dbias [4h].
    """
    x, steps, kernel, recurrent_kernel, bias = cache
    dx = np.zeros_like(x)
    dkernel, drecurrent = np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros(np.shape(bias))
    dh_carried, dc = _float64(d_h_last), _float64(d_c_last)
    for t in reversed(range(len(steps))):
        x_t, h_before, c_before, i, f, g, o, c = steps[t]
        dh = d_outputs[t] + dh_carried
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        da_i = dc * g * i * (1 - i)
        da_f = dc * c_before * f * (1 - f)
        da_g = dc * i * (1 - g**2)
        da_o = dh * np.tanh(c) * o * (1 - o)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)  # [batch, 4h]
        dkernel += x_t.T @ da
        drecurrent += h_before.T @ da
        dbias += da.sum(axis=0)
        dx[t] = da @ kernel.T
        dh_carried = da @ recurrent_kernel.T
        dc = dc * f
    return dx, dh_carried, dc, dkernel, drecurrent, dbias


def gru_forward(x, h0, kernel, recurrent_kernel, bias):
    """Run a GRU layer over a sequence.

        z = sigmoid(x W_z + b_z + h R_z)      r = sigmoid(x W_r + b_r + h R_r)
        h' = z * h + (1 - z) * g

    and, with a bias [3h] (Keras reset_after=False; Cho et al. 2014),

        g = tanh(x W_g + b_g + (r * h) R_g)

    or, with a bias [2, 3h] (reset_after=True, as cuDNN does it), the second
    row d being the recurrent bias, also added within z and r,

        g = tanh(x W_g + b_g + r * (h R_g + d_g))

    Args:
        x: [time, batch, in].
        h0: [batch, h].
        kernel: [in, 3h], the columns in the order z, r, g.
        recurrent_kernel: [h, 3h].
        bias: [3h] or [2, 3h].

    Returns:
        outputs [time, batch, h], the final state (h,), and a cache.
    """
    x, h, bias = _float64(x), _float64(h0), _float64(bias)
    kernel, recurrent_kernel = _float64(kernel), _float64(recurrent_kernel)
    reset_after = bias.ndim == 2
    input_bias = bias[0] if reset_after else bias
    recurrent_bias = bias[1] if reset_after else np.zeros_like(bias)
    r_z, r_r, r_g = np.split(recurrent_kernel, 3, axis=1)  # each [h, h]
    d_z, d_r, d_g = np.split(recurrent_bias, 3)
    outputs, steps = [], []
    for x_t in x:
        a_z, a_r, a_g = np.split(x_t @ kernel + input_bias, 3, axis=1)
        z = sigmoid(a_z + h @ r_z + d_z)
        r = sigmoid(a_r + h @ r_r + d_r)
        u = h @ r_g + d_g  # used with reset_after only
        g = np.tanh(a_g + (r * u if reset_after else (r * h) @ r_g))
        h_before = h
        h = z * h_before + (1 - z) * g
        outputs.append(h)
        steps.append((x_t, h_before, z, r, u, g))
    return _stack(outputs, x, h), (h,), (x, steps, kernel, recurrent_kernel, bias)


def gru_backward(d_outputs, d_h_last, cache):
    """Back-propagate through `gru_forward`.

        da_z = dh' * (h - g) * z (1 - z)      da_g = dh' * (1 - z) * (1 - g^2)

    With reset_after, u = h R_g + d_g:  dr = da_g * u,  du = da_g * r.
    Without, s = r * h:  ds = da_g R_g^T,  dr = ds * h,  and dh gains ds * r.
    Then da_r = dr * r (1 - r).

    Args:
        d_outputs: [time, batch, h].
        d_h_last: [batch, h].
        cache: from `gru_forward`.

    Returns:
        dx [time, batch, in], dh0 [batch, h], dkernel [in, 3h],
        drecurrent [h, 3h], dbias of the shape of bias.
    """
    x, steps, kernel, recurrent_kernel, bias = cache
    reset_after = bias.ndim == 2
    r_z, r_r, r_g = np.split(recurrent_kernel, 3, axis=1)
    dx, dkernel, dbias = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(bias)
    dr_z, dr_r, dr_g = (np.zeros_like(r_z) for _ in range(3))
    dh_carried = _float64(d_h_last)
    for t in reversed(range(len(steps))):
        x_t, h, z, r, u, g = steps[t]
        dh_after = d_outputs[t] + dh_carried
        da_z = dh_after * (h - g) * z * (1 - z)
        da_g = dh_after * (1 - z) * (1 - g**2)
        dh = dh_after * z
        if reset_after:
            dr, du = da_g * u, da_g * r
            dh = dh + du @ r_g.T
            dr_g += h.T @ du
        else:
            ds = da_g @ r_g.T
            dr = ds * h
            dh = dh + ds * r
            dr_g += (r * h).T @ da_g
        da_r = dr * r * (1 - r)
        dr_z += h.T @ da_z
        dr_r += h.T @ da_r
        da = np.concatenate([da_z, da_r, da_g], axis=1)  # [batch, 3h]
        dkernel += x_t.T @ da
        if reset_after:
            dbias[0] += da.sum(axis=0)
            dbias[1] += np.concatenate([da_z, da_r, du], axis=1).sum(axis=0)
        else:
            dbias += da.sum(axis=0)
        dx[t] = da @ kernel.T
        dh_carried = dh + da_z @ r_z.T + da_r @ r_r.T
    drecurrent = np.concatenate([dr_z, dr_r, dr_g], axis=1)
    return dx, dh_carried, dkernel, drecurrent, dbias


def rnn_forward(x, h0, kernel, recurrent_kernel, bias):
    """Run a simple (Elman) layer over a sequence: h' = tanh(x W + h R + b).

    Args:
        x: [time, batch, in].
        h0: [batch, h].
        kernel: [in, h].
        recurrent_kernel: [h, h].
        bias: [h].

    Returns:
        outputs [time, batch, h], the final state (h,), and a cache.
    """
    h = _float64(h0)
    x, kernel, recurrent_kernel = map(_float64, (x, kernel, recurrent_kernel))
    outputs, steps = [], []
    for x_t in x:
        h_before = h
        h = np.tanh(x_t @ kernel + h_before @ recurrent_kernel + bias)
        outputs.append(h)
        steps.append((x_t, h_before, h))
    return _stack(outputs, x, h), (h,), (x, steps, kernel, recurrent_kernel, bias)


def rnn_backward(d_outputs, d_h_last, cache):
    """Back-propagate through `rnn_forward`: da = dh' * (1 - h'^2).

    Args:
        d_outputs: [time, batch, h].
        d_h_last: [batch, h].
        cache: from `rnn_forward`.

    Returns:
        dx [time, batch, in], dh0 [batch, h], dkernel [in, h],
        drecurrent [h, h], dbias [h].
    """
    x, steps, kernel, recurrent_kernel, bias = cache
    dx = np.zeros_like(x)
    dkernel, drecurrent = np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros(np.shape(bias))
    dh_carried = _float64(d_h_last)
    for t in reversed(range(len(steps))):
        x_t, h_before, h = steps[t]
        da = (d_outputs[t] + dh_carried) * (1 - h**2)
        dkernel += x_t.T @ da
        drecurrent += h_before.T @ da
        dbias += da.sum(axis=0)
        dx[t] = da @ kernel.T
        dh_carried = da @ recurrent_kernel.T
    return dx, dh_carried, dkernel, drecurrent, dbias


def mogrifier_forward(x, h0, c0, kernel, recurrent_kernel, bias, gates):
    """Run a Mogrifier LSTM over a sequence (Melis et al. 2020, equations 1 and 2).

        x^i = 2 sigmoid(h^(i-1) Q^i) * x^(i-2)   for odd i, x^-1 = x
        h^i = 2 sigmoid(x^(i-1) R^i) * h^(i-2)   for even i, h^0 = h
        h', c' = LSTM(the last x, the last h, c)

    Args:
        x: [time, batch, in].
        h0: [batch, h].
        c0: [batch, h].
        kernel: [in, 4h].
        recurrent_kernel: [h, 4h].
        bias: [4h].
        gates: Q^1 [h, in], R^2 [in, h], Q^3 and so on.

    Returns:
        outputs [time, batch, h], the final state (h, c).
    """
    h, c, outputs = _float64(h0), _float64(c0), []
    for x_t in _float64(x):
        xs, hs = {-1: x_t}, {0: h}
        for i, gate in enumerate(gates, start=1):
            if i % 2:
                xs[i] = 2 * sigmoid(hs[i - 1] @ gate) * xs[i - 2]
            else:
                hs[i] = 2 * sigmoid(xs[i - 1] @ gate) * hs[i - 2]
        last = xs[max(xs)][None], hs[max(hs)], c
        _, (h, c), _ = lstm_forward(*last, kernel, recurrent_kernel, bias)
        outputs.append(h)
    return np.array(outputs), (h, c)


def _float64(array):
    return np.asarray(array, dtype=np.float64)


def _stack(outputs, x, h):
    """Outputs [time, batch, h], also where time is zero."""
    return np.array(outputs).reshape(len(x), *h.shape)


# cell -> (forward, backward, states per layer, gates)
CELLS = {
    "lstm": (lstm_forward, lstm_backward, 2, 4),
    "gru": (gru_forward, gru_backward, 1, 3),
    "rnn": (rnn_forward, rnn_backward, 1, 1),
}


# ---------------------------------------------------------------------------
# The language model.


class LanguageModelResult(NamedTuple):
    """What `language_model_loss` returns.

    Attributes:
        logits: [batch, time, vocab].
        loss: float, nats on the scale asked for.
        state: the final state, a list of tuples of [batch, hidden].
        gradients: a dict with the keys of params, all dense.
    """

    logits: np.ndarray
    loss: float
    state: list
    gradients: dict


def random_parameters(
    rng, vocab, hidden, layers, *, tied=False, cell="lstm", reset_after=True, scale=0.1
):
    """Parameters uniform in +-scale, the biases too, so that tests exercise them."""
    gates = CELLS[cell][3]
    bias_shape = (2, 3 * hidden) if cell == "gru" and reset_after else (gates * hidden,)
    shapes = {"embedding": (vocab, hidden)}
    for layer in range(layers):
        shapes[f"kernel_{layer}"] = (hidden, gates * hidden)
        shapes[f"recurrent_kernel_{layer}"] = (hidden, gates * hidden)
        shapes[f"bias_{layer}"] = bias_shape
    if not tied:
        shapes["softmax_w"] = (hidden, vocab)
    shapes["softmax_b"] = (vocab,)
    return {name: rng.uniform(-scale, scale, shape) for name, shape in shapes.items()}


def count_layers(params):
    """The number of recurrent layers in a dict of parameters."""
    return sum(name.startswith("recurrent_kernel_") for name in params)


def zero_state(params, batch, cell="lstm"):
    """A state of zeros: for each layer a tuple of [batch, hidden]."""
    state = []
    for layer in range(count_layers(params)):
        hidden = params[f"recurrent_kernel_{layer}"].shape[0]
        state.append(tuple(np.zeros((batch, hidden)) for _ in range(CELLS[cell][2])))
    return state


def language_model_loss(
    params,
    ids,
    targets,
    state,
    masks=None,
    tied=False,
    cell="lstm",
    loss_scale="sum_over_time",
    ar=0.0,
    tar=0.0,
):
    """Logits, loss, final state and gradients of one window.

        x_0 = embedding[ids] * mask_0
        x_(l+1) = layer_l(x_l) * mask_(l+1)
        logits = x_L softmax_w + softmax_b,  or tied  x_L embedding^T + softmax_b,
        or with a projection  x_L projection embedding^T + softmax_b
        loss = sum over time of the mean over the batch of -log softmax(logits)

    The gradients stop at the given state (truncated back-propagation).

    Args:
        params: embedding [vocab, hidden], for each layer l kernel_l,
            recurrent_kernel_l and bias_l, softmax_w [hidden, vocab] unless
            tied, softmax_b [vocab]; where tied perhaps projection [hidden of the
            last layer, width of the embedding].
        ids: int [batch, time].
        targets: int [batch, time].
        state: a list of a tuple for each layer, (h, c) or (h,), [batch, hidden];
            None for zeros.
        masks: None, or layers + 1 arrays [time, batch, hidden] that multiply the
            embedding and the output of each layer, 1 / keep_prob included.
        tied: whether the softmax uses the embedding.
        cell: 'lstm', 'gru' (reset_after where bias_l has two rows) or 'rnn'.
        loss_scale: 'sum_over_time' or 'mean', the mean per token.
        ar: factor of mean(x_L^2) in the loss; with a sum over time, times that too.
        tar: the same of mean((h_t - h_(t-1))^2), h the last layer's output before its
            mask.

    Returns:
        A LanguageModelResult.
    """
    ids, targets = np.asarray(ids), np.asarray(targets)
    params = {name: _float64(value) for name, value in params.items()}
    layers = count_layers(params)
    if state is None:
        state = zero_state(params, len(ids), cell)
    if masks is None:
        masks = [1.0] * (layers + 1)
    assert len(masks) == layers + 1 and len(state) == layers

    out, raw, final_state, caches = _stack_forward(params, ids, state, masks, cell)
    softmax_w = params["embedding"].T if tied else params["softmax_w"]
    last = out
    if "projection" in params:
        out = last @ params["projection"]
    logits = out @ softmax_w + params["softmax_b"]  # [time, batch, vocab]
    loss, d_logits = cross_entropy(logits, targets.T, loss_scale)

    gradients = {name: np.zeros_like(value) for name, value in params.items()}
    for out_t, d_logits_t in zip(out, d_logits, strict=True):
        d_softmax_w = out_t.T @ d_logits_t  # [hidden, vocab]
        if tied:
            gradients["embedding"] += d_softmax_w.T
        else:
            gradients["softmax_w"] += d_softmax_w
        gradients["softmax_b"] += d_logits_t.sum(axis=0)
    d_out = d_logits @ softmax_w.T
    if "projection" in params:
        gradients["projection"] += np.einsum("tbi,tbj->ij", last, d_out)
        d_out = d_out @ params["projection"].T
    scale = len(out) if loss_scale == "sum_over_time" else 1
    d_raw, changes = np.zeros_like(raw), raw[1:] - raw[:-1]
    if ar or tar:
        loss += scale * (ar * np.mean(last**2) + tar * np.mean(changes**2))
        d_out = d_out + scale * ar * 2 * last / last.size
        d_raw[1:] += scale * tar * 2 * changes / changes.size
        d_raw[:-1] -= scale * tar * 2 * changes / changes.size
    _stack_backward(gradients, d_out, d_raw, ids, masks, caches, cell)
    return LanguageModelResult(logits.swapaxes(0, 1), loss, final_state, gradients)


def cross_entropy(logits, targets, loss_scale="sum_over_time"):
    """Cross entropy in nats, and its derivative by the logits.

        -log p[target],  p = softmax(logits);  derivative  p - onehot(target)

    Args:
        logits: [time, batch, vocab].
        targets: int [time, batch].
        loss_scale: 'sum_over_time', the sum over time of the mean over the batch,
            or 'mean', the mean over both.

    Returns:
        loss, a float, and d_logits [time, batch, vocab].
    """
    time, batch = targets.shape
    weight = {"sum_over_time": 1.0 / batch, "mean": 1.0 / (batch * time)}[loss_scale]
    loss, d_logits = 0.0, np.zeros_like(logits)
    for t in range(time):
        for b in range(batch):
            # The softmax is unchanged by a shift, which keeps exp from overflow.
            shifted = logits[t, b] - logits[t, b].max()
            log_p = shifted - np.log(np.exp(shifted).sum())
            loss -= weight * log_p[targets[t, b]]
            d_logits[t, b] = weight * np.exp(log_p)
            d_logits[t, b, targets[t, b]] -= weight
    return float(loss), d_logits


def _stack_forward(params, ids, state, masks, cell):
    """From ids [batch, time] to the last layer's output [time, batch, hidden].

    After its mask, and before it.
    """
    forward = CELLS[cell][0]
    x = params["embedding"][ids.T] * masks[0]
    final_state, caches = [], []
    for layer, layer_state in enumerate(state):
        outputs, layer_final, cache = forward(
            x,
            *layer_state,
            params[f"kernel_{layer}"],
            params[f"recurrent_kernel_{layer}"],
            params[f"bias_{layer}"],
        )
        x = outputs * masks[layer + 1]
        final_state.append(layer_final)
        caches.append(cache)
    return x, outputs, final_state, caches


def _stack_backward(gradients, d_out, d_raw, ids, masks, caches, cell):
    """Add the gradients of the layers and of the embedding lookup, in place.

    d_out: [time, batch, hidden], by the last layer's output after its mask.
    d_raw: beside that, by the output before its mask.
    """
    _, backward, states, _ = CELLS[cell]
    dx = d_out
    for layer in reversed(range(len(caches))):
        d_outputs = dx * masks[layer + 1] + d_raw
        d_raw = 0.0
        d_last = [np.zeros_like(d_outputs[0])] * states
        dx, *_, dkernel, drecurrent, dbias = backward(d_outputs, *d_last, caches[layer])
        gradients[f"kernel_{layer}"] += dkernel
        gradients[f"recurrent_kernel_{layer}"] += drecurrent
        gradients[f"bias_{layer}"] += dbias
    dx = dx * masks[0]
    batch, time = ids.shape
    for t in range(time):
        for b in range(batch):
            gradients["embedding"][ids[b, t]] += dx[t, b]


def perplexity_exact(params, ids, tied=False, cell="lstm"):
    """Score a stream of ids, batch 1, one step at a time, from a zero state.

    Every id but the first is predicted, from all that come before it.

    Args:
        params: as in `language_model_loss`.
        ids: int [tokens].
        tied: as in `language_model_loss`.
        cell: as in `language_model_loss`.

    Returns:
        The sum of nats (float) and the number of predictions, tokens - 1;
        perplexity is exp(sum / count).
    """
    state = zero_state(params, 1, cell)
    nats, count = 0.0, 0
    for current, following in itertools.pairwise(ids):
        result = language_model_loss(
            params, [[current]], [[following]], state, tied=tied, cell=cell
        )
        nats += result.loss
        count += 1
        state = result.state
    return nats, count


# ---------------------------------------------------------------------------
# Optimization. Every function returns new arrays and leaves its inputs alone.


def clip_by_global_norm(grads, max_norm):
    """Scale gradients by max_norm / max(norm, max_norm).

    norm = sqrt(sum over all gradients of the sum of squares)

    Returns:
        The dict of clipped gradients, and the norm before clipping.
    """
    norm = float(np.sqrt(sum(np.sum(np.square(grad)) for grad in grads.values())))
    factor = max_norm / max(norm, max_norm)
    return {name: grad * factor for name, grad in grads.items()}, norm


def sgd_step(params, grads, lr):
    """Gradient descent, var - lr * g. Returns the new params."""
    return {name: params[name] - lr * grads[name] for name in params}


def momentum_step(params, grads, slots, lr, momentum=0.9):
    """Momentum as in TensorFlow: accum = momentum * accum + g; var -= lr * accum.

    Args:
        params: dict of arrays.
        grads: dict of arrays.
        slots: {'accum': dict}, or None before the first step.
        lr: float.
        momentum: float.

    Returns:
        The new params and the new slots.
    """
    if slots is None:
        slots = {"accum": {name: np.zeros_like(var) for name, var in params.items()}}
    accum = {name: momentum * slots["accum"][name] + grads[name] for name in params}
    new_params = {name: params[name] - lr * accum[name] for name in params}
    return new_params, {"accum": accum}


def adam_step(params, grads, slots, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam (Kingma and Ba 2015), epsilon placed as TensorFlow does ("epsilon hat").

        m = beta1 * m + (1 - beta1) * g       v = beta2 * v + (1 - beta2) * g^2
        lr_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t),  t from 1
        var -= lr_t * m / (sqrt(v) + eps)

    Args:
        params: dict of arrays.
        grads: dict of arrays.
        slots: {'t': int, 'm': dict, 'v': dict}, or None before the first step.
        lr: float.
        beta1: float.
        beta2: float.
        eps: float.

    Returns:
        The new params and the new slots.
    """
    if slots is None:
        zeros = {name: np.zeros_like(var) for name, var in params.items()}
        slots = {"t": 0, "m": zeros, "v": zeros}
    t = slots["t"] + 1
    lr_t = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    m, v, new_params = {}, {}, {}
    for name, g in grads.items():
        m[name] = beta1 * slots["m"][name] + (1 - beta1) * g
        v[name] = beta2 * slots["v"][name] + (1 - beta2) * g**2
        new_params[name] = params[name] - lr_t * m[name] / (np.sqrt(v[name]) + eps)
    return new_params, {"t": t, "m": m, "v": v}


def adamw_step(params, grads, slots, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    """AdamW as PyTorch has it: decay times lr, epsilon after the correction.

        var -= lr * decay * var
        m = beta1 * m + (1 - beta1) * g       v = beta2 * v + (1 - beta2) * g^2
        m_hat = m / (1 - beta1^t)             v_hat = v / (1 - beta2^t),  t from 1
        var -= lr * m_hat / (sqrt(v_hat) + eps)

    Args:
        params: dict of arrays.
        grads: dict of arrays.
        slots: {'t': int, 'm': dict, 'v': dict}, or None before the first step.
        lr: float.
        decay: float.
        beta1: float.
        beta2: float.
        eps: float.

    Returns:
        The new params and the new slots.
    """
    if slots is None:
        zeros = {name: np.zeros_like(var) for name, var in params.items()}
        slots = {"t": 0, "m": zeros, "v": zeros}
    t = slots["t"] + 1
    m, v, new_params = {}, {}, {}
    for name, g in grads.items():
        var = params[name] - lr * decay * params[name]
        m[name] = beta1 * slots["m"][name] + (1 - beta1) * g
        v[name] = beta2 * slots["v"][name] + (1 - beta2) * g**2
        m_hat, v_hat = m[name] / (1 - beta1**t), v[name] / (1 - beta2**t)
        new_params[name] = var - lr * m_hat / (np.sqrt(v_hat) + eps)
    return new_params, {"t": t, "m": m, "v": v}


def learning_rate(epoch, learning_rate, lr_decay, max_epoch):
    """learning_rate * lr_decay ** max(epoch + 1 - max_epoch, 0), epoch from 0."""
    return learning_rate * lr_decay ** max(epoch + 1 - max_epoch, 0)


# ---------------------------------------------------------------------------
# Data.


def batches(ids, batch_size, num_steps):
    """Cut a stream of ids into the tutorial's windows.

    The stream is cut into batch_size rows of len // batch_size ids; the windows
    go along the rows, the targets one place ahead of the inputs. What is left at
    the end of the stream and of the rows is dropped.

    Yields:
        inputs and targets, lists of batch_size lists of num_steps ids.

    Raises:
        ValueError: where there is not a single window, as the tutorial does.
    """
    ids = list(ids)
    batch_len = len(ids) // batch_size
    windows = (batch_len - 1) // num_steps
    if windows < 1:
        raise ValueError("no window: decrease batch_size or num_steps")
    rows = [ids[row * batch_len : (row + 1) * batch_len] for row in range(batch_size)]
    for window in range(windows):
        start = window * num_steps
        inputs = [[row[start + step] for step in range(num_steps)] for row in rows]
        targets = [[row[start + step + 1] for step in range(num_steps)] for row in rows]
        yield inputs, targets
