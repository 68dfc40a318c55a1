"""The language model: embedding, recurrent stack, dropout, softmax.

State is explicit: every method takes it and returns the next one, so that
training, evaluation at batch 1 and sampling share one model. Inside, tensors
are time-major, which makes a time step a contiguous slice.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ptb_lm.config import Config, ModelConfig
from ptb_lm.model.cell import Cell, Layer, LayerOptions, cell_of
from ptb_lm.model.dropout import DropoutSeed, ModelDropout, SeedAndStep
from ptb_lm.model.initializers import make_initializer
from ptb_lm.model.softmax import Seeds, softmax_of

# Options of the model, by the names that its constructor takes. `matmul_dtype` is
# there for `dtype`, which Keras has another meaning for.
OPTIONS = {field.name for field in dataclasses.fields(ModelConfig)} - {
    "hidden_size",
    "num_layers",
    "dtype",
}

# Per layer the parts that the cell names (h and c of an LSTM), each [batch, size].
State = list[list[tf.Tensor]]


class Outputs(NamedTuple):
    """What the recurrent stack says of a window; [time, batch, width] each.

    Attributes:
      features: the inputs of the softmax.
      state: after the window.
      raw: outputs of the last layer, before dropout.
      dropped: the same after dropout; without dropout, `raw` itself.
    """

    features: tf.Tensor
    state: State
    raw: tf.Tensor
    dropped: tf.Tensor


@keras.saving.register_keras_serializable("ptb_lm")
class LanguageModel(keras.Model):
    """Stacked LSTM language model of Zaremba, Sutskever and Vinyals (2014).

        e_t = D(E[x_t]);  h^0_t = e_t
        h^l_t, c^l_t = LSTM(h^{l-1}_t, h^l_{t-1}, c^l_{t-1});  next input D(h^l_t)
        p(x_{t+1}) = softmax(D(h^L_t) W + b)

    with D dropout; or another recurrent cell in place of the LSTM, or another softmax
    (`model/softmax.py`).
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        matmul_dtype: str | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        """Creates the variables, with the initial values that the options say.

        Every variable draws from a stream of its own, spawned from the seed. The
        bias of the softmax is zero if it is to be that of the unigrams, until
        `set_unigram_bias` sets it.

        Args:
          vocab_size: number of tokens.
          hidden_size: as in `ModelConfig`.
          num_layers: as in `ModelConfig`.
          matmul_dtype: type that matrices are multiplied in; None: float32.
          seed: of the initial weights, and of dropout in `call`.
          **kwargs: options of `ModelConfig`, and arguments of `keras.Model`.

        Raises:
          UserError: a value breaks its option's rule, or two contradict each other.
        """
        given = {name: kwargs.pop(name) for name in OPTIONS & kwargs.keys()}
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        options = ModelConfig(hidden_size=hidden_size, num_layers=num_layers, **given)
        self.options = options
        self.matmul_dtype = matmul_dtype
        self.seed = seed
        self._cell = cell_of(options)
        self._softmax = softmax_of(options)(options, matmul_dtype)
        self._dropout = ModelDropout(options, vocab_size, self._cell)
        self._create_weights()
        self.built = True

    def _create_weights(self) -> None:
        """Creates the layers and variables, in the order of their seeds."""
        options, seeds = self.options, Seeds(self.seed)

        def drawn(distribution: str) -> keras.Initializer:
            return make_initializer(distribution, options.init_scale, seeds.next())

        def weight(
            name: str, initializer: keras.Initializer, shape: tuple[int, ...]
        ) -> keras.Variable:
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        shape = self.vocab_size, options.embedding_width
        self.embedding = weight("embedding", drawn(options.embedding_init), shape)
        layer_options = LayerOptions(
            lambda: drawn(options.layer_init),
            options.forget_bias,
            options.rnn_mode,
            self.matmul_dtype,
        )
        self.recurrent_layers = _make_layers(self._cell, options, layer_options)
        self._softmax.create(self.embedding, weight, seeds)

    def set_unigram_bias(self, counts: np.ndarray) -> None:
        """Makes the softmax without its matrix the distribution of the unigrams.

        p_i = (n_i + 1) / sum_j (n_j + 1)

        Args:
          counts: n, how often each token is in the training text, [vocabulary].
        """
        smoothed = counts + 1.0
        self._softmax.set_unigram_bias(smoothed / smoothed.sum())

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for Keras saving."""
        options = {name: getattr(self.options, name) for name in sorted(OPTIONS)}
        return super().get_config() | {
            "vocab_size": self.vocab_size,
            "hidden_size": self.options.hidden_size,
            "num_layers": self.options.num_layers,
            "matmul_dtype": self.matmul_dtype,
            "seed": self.seed,
            **options,
        }

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every weight under the name that checkpoints use."""
        variables = {"embedding": self.embedding.value}
        for layer in self.recurrent_layers:
            weights = self._cell.named_weights(layer)
            variables |= {f"{layer.name}/{name}": v for name, v in weights.items()}
        return variables | self._softmax.named_variables()

    @property
    def state_parts(self) -> list[list[tuple[str, int]]]:
        """Per layer the name and size of each part of its state."""
        return [self._cell.state_parts(units) for units in self.options.layer_units]

    @property
    def state_rounding(self) -> float:
        """How far rounding alone may move a number of the state, relative to it or 1.

        A few units in the last place of the products' factors.
        """
        return 1e-5 if self.matmul_dtype is None else 1e-2

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Zero state: per layer the parts of `state_parts`, float32 [batch, size]."""
        return [
            [tf.zeros([batch_size, size]) for _, size in parts]
            for parts in self.state_parts
        ]

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of the embedding: int32 ids [...] -> float32 [..., width]."""
        return tf.nn.embedding_lookup(self.embedding.value, ids)

    def drop_words(
        self, embedded: tf.Tensor, ids: tf.Tensor, dropout_seed: DropoutSeed
    ) -> tf.Tensor:
        """What dropout of words leaves of the embedding's rows.

        Beside `embed`, so that the training step can take the gradient of the rows.
        A tied softmax uses the whole embedding, as in AWD-LSTM.

        Args:
          embedded: float32 [time, batch, width].
          ids: of the rows, int32 [time, batch].
          dropout_seed: as in `outputs`.
        """
        return self._dropout.words(embedded, ids, dropout_seed)

    def features(
        self,
        embedded: tf.Tensor,
        state: State,
        dropout_seed: DropoutSeed = None,
        with_gradient: bool = True,
    ) -> tuple[tf.Tensor, State]:
        """The inputs of the softmax and the final state, see `outputs`."""
        outputs = self.outputs(embedded, state, dropout_seed, with_gradient)
        return outputs.features, outputs.state

    def outputs(
        self,
        embedded: tf.Tensor,
        state: State,
        dropout_seed: DropoutSeed = None,
        with_gradient: bool = True,
    ) -> Outputs:
        """Runs the recurrent stack.

        Args:
          embedded: float32 [time, batch, width], rows of the embedding, after
            `drop_words` where words may be dropped.
          state: as `initial_state` gives it.
          dropout_seed: the masks depend on this and on the place of the mask alone.
            None: no dropout.
          with_gradient: False spares what only the gradient needs.

        Returns:
          The inputs of the softmax, the final state, and what the last layer says
          before and after dropout, which costs nothing where it is not read.
        """
        drop = self._dropout
        raw = dropped = drop.sequence(embedded, dropout_seed, 0)
        final_state = []
        for index, (layer, layer_state) in enumerate(
            zip(self.recurrent_layers, state, strict=True), start=1
        ):
            with drop.weights(layer, dropout_seed, index):
                raw, layer_final = self._cell.run(
                    layer, dropped, layer_state, with_gradient
                )
            dropped = drop.sequence(raw, dropout_seed, index)
            final_state.append(layer_final)
        return Outputs(self._softmax.features(dropped), final_state, raw, dropped)

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Unnormalized log-probabilities: [..., width] -> [..., vocabulary]."""
        flat = tf.reshape(features, [-1, self._softmax.width])
        scores = self._softmax.logits(flat)
        shape = tf.concat([tf.shape(features)[:-1], [self.vocab_size]], axis=0)
        return tf.reshape(scores, shape)

    def token_nats(
        self, features: tf.Tensor, targets: tf.Tensor, sample_seed: DropoutSeed = None
    ) -> tf.Tensor:
        """-log p(target) in nats: [..., width], int32 [...] -> float32 [...].

        Args:
          features: float32 [..., width].
          targets: int32 [...].
          sample_seed: of training: allows an estimate from samples, which depend on
            this alone. None: exact.
        """
        flat = tf.reshape(features, [-1, self._softmax.width])
        flat_targets = tf.reshape(targets, [-1])
        if sample_seed is None:
            nats = self._softmax.token_nats(flat, flat_targets)
        else:
            nats = self._softmax.training_nats(flat, flat_targets, sample_seed)
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
            seeds = SeedAndStep(
                tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)
            )
        ids = tf.transpose(ids)
        embedded = self.drop_words(self.embed(ids), ids, seeds)
        features, state = self.features(embedded, state, seeds)
        return tf.transpose(self.logits(features), [1, 0, 2]), state


def _make_layers(cell: Cell, options: ModelConfig, of_all: LayerOptions) -> list[Layer]:
    """The recurrent layers, built, the lowest first."""
    layers = []
    widths = [options.embedding_width, *options.layer_units]
    for index, (width, units) in enumerate(itertools.pairwise(widths)):
        layer = cell.make_layer(units, f"{options.cell}_{index}", of_all)
        layer.build((None, None, width))
        layers.append(layer)
    return layers


def build_model(config: Config, vocab_size: int) -> LanguageModel:
    """The model that a configuration describes, freshly initialized."""
    options = dataclasses.asdict(config.model)
    dtype = options.pop("dtype")  # "auto" is float32 where nobody chose
    return LanguageModel(
        vocab_size=vocab_size,
        seed=config.training.seed,
        matmul_dtype=dtype if dtype == "bfloat16" else None,
        **options,
    )
