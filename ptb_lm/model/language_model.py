"""The language model: embedding, recurrent stack, dropout, softmax.

State is explicit: every method takes it and returns the next one, so that
training, evaluation at batch 1 and sampling share one model. Inside, tensors
are time-major, which makes a time step a contiguous slice.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import Config
from ptb_lm.model.gru import GRU, SimpleRNN
from ptb_lm.model.losses import token_nats
from ptb_lm.model.lstm import LSTM

# Per layer [h, c] of an LSTM, [h] of the other cells, each [batch, hidden].
State = list[list[tf.Tensor]]

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}


def dropout(inputs: tf.Tensor, keep_prob: float, seed: tf.Tensor) -> tf.Tensor:
    """Keeps each element with probability keep_prob, scaled by 1 / keep_prob.

    Args:
      inputs: any shape; every element has a draw of its own, so that each time
        step gets a fresh mask (Zaremba et al. 2014, section 3.1).
      keep_prob: in (0, 1].
      seed: int64 [2]; the same seed gives the same mask.
    """
    draws = tf.random.stateless_uniform(tf.shape(inputs), seed, dtype=inputs.dtype)
    return tf.where(draws < keep_prob, inputs / keep_prob, tf.zeros_like(inputs))


@keras.saving.register_keras_serializable("ptb_lm")
class LanguageModel(keras.Model):
    """Stacked LSTM language model of Zaremba, Sutskever and Vinyals (2014).

        e_t = D(E[x_t]);  h^0_t = e_t
        h^l_t, c^l_t = LSTM(h^{l-1}_t, h^l_{t-1}, c^l_{t-1});  next input D(h^l_t)
        p(x_{t+1}) = softmax(D(h^L_t) W + b)

    with D dropout; or another recurrent cell in place of the LSTM. W is [hidden,
    vocabulary], or the transposed embedding where weights are tied (Press and Wolf
    2017).
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        cell: str = "lstm",
        keep_prob: float = 1.0,
        init_scale: float = 0.1,
        forget_bias: float = 0.0,
        tied: bool = False,
        rnn_mode: str = "auto",
        matmul_dtype: str | None = None,
        seed: int = 0,
        **kwargs,
    ):
        """Creates the variables, each uniform in [-init_scale, init_scale].

        The layers' biases start at zero, that of an LSTM's forget gate at
        forget_bias. Every variable draws from a stream of its own, spawned from the
        seed.
        """
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.cell = cell
        self.keep_prob = keep_prob
        self.init_scale = init_scale
        self.forget_bias = forget_bias
        self.tied = tied
        self.rnn_mode = rnn_mode
        self.matmul_dtype = matmul_dtype
        self.seed = seed
        self._create_weights()
        self.built = True

    def _create_weights(self) -> None:
        """Creates the layers and variables, in the order of their seeds."""
        count = 2 * self.num_layers + 3
        seeds = iter(np.random.SeedSequence(self.seed).generate_state(count))

        def uniform():
            scale, seed = self.init_scale, int(next(seeds))
            return keras.initializers.RandomUniform(-scale, scale, seed=seed)

        table = (self.vocab_size, self.hidden_size)
        self.embedding = self.add_weight(
            shape=table, initializer=uniform(), name="embedding"
        )
        self.recurrent_layers = [
            CELLS[self.cell](
                self.hidden_size,
                rnn_mode=self.rnn_mode,
                matmul_dtype=self.matmul_dtype,
                kernel_initializer=uniform(),
                recurrent_initializer=uniform(),
                return_sequences=True,
                return_state=True,
                name=f"{self.cell}_{index}",
                **self._bias_options(),
            )
            for index in range(self.num_layers)
        ]
        for layer in self.recurrent_layers:
            layer.build((None, None, self.hidden_size))
        self.softmax_bias = self.add_weight(
            shape=(self.vocab_size,), initializer=uniform(), name="softmax_bias"
        )
        self.softmax_kernel = None
        if not self.tied:
            self.softmax_kernel = self.add_weight(
                shape=table[::-1], initializer=uniform(), name="softmax_kernel"
            )

    def _bias_options(self) -> dict:
        """What a layer is told of its bias: only an LSTM has a forget gate."""
        if self.cell != "lstm":
            return {}
        # Of the gates i, f, g, o, as Keras stores them.
        biases = np.repeat([0.0, self.forget_bias, 0.0, 0.0], self.hidden_size)
        initializer = keras.initializers.Constant(biases)
        return {"unit_forget_bias": False, "bias_initializer": initializer}

    def get_config(self) -> dict:
        """Constructor arguments, for Keras saving."""
        names = (
            "vocab_size",
            "hidden_size",
            "num_layers",
            "cell",
            "keep_prob",
            "init_scale",
            "forget_bias",
            "tied",
            "rnn_mode",
            "matmul_dtype",
            "seed",
        )
        return super().get_config() | {name: getattr(self, name) for name in names}

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every weight under the name that checkpoints use."""
        variables = {"embedding": self.embedding.value}
        for layer in self.recurrent_layers:
            for part in ("kernel", "recurrent_kernel", "bias"):
                variables[f"{layer.name}/{part}"] = getattr(layer.cell, part).value
        if not self.tied:
            variables["softmax_kernel"] = self.softmax_kernel.value
        variables["softmax_bias"] = self.softmax_bias.value
        return variables

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Zero state: per layer [h, c] or [h], each float32 [batch, hidden]."""
        zeros = tf.zeros([batch_size, self.hidden_size])
        return [
            [zeros for _ in tf.nest.flatten(layer.state_size)]
            for layer in self.recurrent_layers
        ]

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of the embedding: int32 ids [...] -> float32 [..., hidden]."""
        return tf.nn.embedding_lookup(self.embedding.value, ids)

    def features(
        self,
        embedded: tf.Tensor,
        state: State,
        dropout_seed: tuple[tf.Tensor, tf.Tensor] | None = None,
        with_gradient: bool = True,
    ) -> tuple[tf.Tensor, State]:
        """Runs the recurrent stack.

        Args:
          embedded: float32 [time, batch, hidden].
          state: as `initial_state` gives it.
          dropout_seed: (seed, step), int64 scalars; the masks depend on these
            and on the place of the mask alone. None: no dropout.
          with_gradient: False spares what only the gradient needs.

        Returns:
          The inputs of the softmax [time, batch, hidden], and the final state.
        """
        outputs = self._dropout(embedded, dropout_seed, place=0)
        final_state = []
        for place, (layer, layer_state) in enumerate(
            zip(self.recurrent_layers, state, strict=True), start=1
        ):
            outputs, layer_final = layer.run_time_major(
                outputs, layer_state, with_gradient
            )
            outputs = self._dropout(outputs, dropout_seed, place)
            final_state.append(layer_final)
        return outputs, final_state

    def _dropout(self, inputs, dropout_seed, place):
        if dropout_seed is None or self.keep_prob == 1.0:
            return inputs
        seed, step = dropout_seed
        places = self.num_layers + 1
        return dropout(inputs, self.keep_prob, tf.stack([seed, step * places + place]))

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities: [..., hidden] -> [..., vocabulary]."""
        flat = tf.reshape(features, [-1, self.hidden_size])
        matrix = self.embedding if self.tied else self.softmax_kernel
        scores = tf.matmul(flat, matrix.value, transpose_b=self.tied)
        scores = tf.nn.bias_add(scores, self.softmax_bias.value)
        shape = tf.concat([tf.shape(features)[:-1], [self.vocab_size]], axis=0)
        return tf.reshape(scores, shape)

    def token_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """-log p(target) in nats: [..., hidden], int32 [...] -> float32 [...]."""
        matrix = self.embedding if self.tied else self.softmax_kernel
        nats = token_nats(
            tf.reshape(features, [-1, self.hidden_size]),
            matrix.value,
            self.softmax_bias.value,
            tf.reshape(targets, [-1]),
            tied=self.tied,
            matmul_dtype=self.matmul_dtype,
        )
        return tf.reshape(nats, tf.shape(targets))

    def call(
        self,
        ids: tf.Tensor,
        state: State | None = None,
        training: bool = False,
        step: int = 0,
    ) -> tuple[tf.Tensor, State]:
        """(ids, state) -> (logits, state).

        Args:
          ids: int32 [batch, time].
          state: as `initial_state` gives it; None: zeros.
          training: whether dropout is applied.
          step: training step, which the dropout masks depend on.

        Returns:
          Logits float32 [batch, time, vocabulary] and the final state.
        """
        if state is None:
            state = self.initial_state(tf.shape(ids)[0])
        seeds = None
        if training:
            seeds = tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)
        features, state = self.features(self.embed(tf.transpose(ids)), state, seeds)
        return tf.transpose(self.logits(features), [1, 0, 2]), state


def build_model(config: Config, vocab_size: int) -> LanguageModel:
    """The model that a configuration describes, freshly initialized."""
    options = dataclasses.asdict(config.model)
    dtype = options.pop("dtype")
    return LanguageModel(
        vocab_size=vocab_size,
        seed=config.training.seed,
        matmul_dtype=None if dtype == "float32" else dtype,
        **options,
    )
