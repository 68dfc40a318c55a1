"""Rates of the matrix products that a training step is made of.

    python benchmarks/products.py
    python benchmarks/products.py --preset=large --rounds=30

Each product is measured alone, in turn, at the shapes of the preset: medians over
the rounds, in GFLOP/s. The last lines sum them up: the time of a step that did
nothing else, and how many tokens a second that would be. The product with the state
is measured whole, and gate by gate as the LSTM computes it; it is counted as the
latter. The small preset's products are too short to be timed by calls.
"""

import argparse
import statistics
import time

from workers import (
    LAYERS,
    MATRIX_SIZE,
    NETWORKS,
    VOCABULARY,
    import_tensorflow,
)

CHAIN = 70  # products with the state in a row, as in the loop over time


def products(tf, hidden, steps, batch):
    """Name -> (compiled function, FLOP of one call, its share of a step)."""
    tokens = batch * steps
    x, w = tf.random.normal([tokens, hidden]), tf.random.normal([hidden, 4 * hidden])
    dz = tf.random.normal([tokens, 4 * hidden])
    v, d = (
        tf.random.normal([hidden, VOCABULARY]),
        tf.random.normal([tokens, VOCABULARY]),
    )
    h, square = tf.random.normal([batch, hidden]), tf.random.normal([MATRIX_SIZE] * 2)
    r = w / (2 * hidden**0.5)  # keeps the size of the state
    gates = [tf.identity(gate) for gate in tf.split(r, 4, axis=1)]
    transposed = [tf.transpose(gate) for gate in gates]

    def chain(product):
        """Each product needs the one before it."""
        state = h
        for _ in range(CHAIN):
            state = product(state)
        return state

    def whole(state):
        return tf.add_n(tf.split(tf.matmul(state, r), 4, axis=1))

    def by_gate(kernels):
        return lambda state: tf.add_n([tf.matmul(state, kernel) for kernel in kernels])

    layer, softmax = 8 * tokens * hidden**2, 2 * tokens * hidden * VOCABULARY
    state = CHAIN * 8 * batch * hidden**2
    loop = LAYERS * steps / CHAIN
    work = {
        "the ceiling": (lambda: square @ square, 2 * MATRIX_SIZE**3, 0),
        "logits": (lambda: x @ v, softmax, 1),
        "gradient of the features": (
            lambda: tf.matmul(d, v, transpose_b=True),
            softmax,
            1,
        ),
        "gradient of the softmax": (
            lambda: tf.matmul(x, d, transpose_a=True),
            softmax,
            1,
        ),
        "projection": (lambda: x @ w, layer, LAYERS),
        "gradient of its inputs": (
            lambda: tf.matmul(dz, w, transpose_b=True),
            layer,
            LAYERS,
        ),
        "gradient of a kernel": (
            lambda: tf.matmul(x, dz, transpose_a=True),
            layer,
            2 * LAYERS,
        ),
        "state, whole": (lambda: chain(whole), state, 0),
        "state, gate by gate": (lambda: chain(by_gate(gates)), state, loop),
        "its gradient, likewise": (lambda: chain(by_gate(transposed)), state, loop),
    }
    return {
        name: (tf.function(function, autograph=False), flop, share)
        for name, (function, flop, share) in work.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="medium", choices=("medium", "large"))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    tf, _ = import_tensorflow()
    network = NETWORKS[arguments.preset]
    work = products(tf, network.hidden, network.steps, network.batch)
    seconds = {name: [] for name in work}
    for number in range(-2, arguments.rounds):  # the first rounds compile
        for name, (function, _, _) in work.items():
            begin = time.perf_counter()
            function()[0, 0].numpy()
            if number >= 0:
                seconds[name].append(time.perf_counter() - begin)
    total = flops = ceiling = 0
    for name, (_, flop, share) in work.items():
        median = statistics.median(seconds[name])
        total, flops = total + share * median, flops + share * flop
        ceiling = ceiling or flop / median  # the first
        print(f"{name:26s} {flop / median / 1e9:4.0f} GFLOP/s")
    tokens = network.batch * network.steps
    print(f"all of a step: {total * 1e3:.0f} ms, {tokens / total:,.0f} tokens/s,")
    print(f"{flops / total / ceiling:.0%} of the ceiling")


if __name__ == "__main__":
    main()
