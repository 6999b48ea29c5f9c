"""Gradient caching: the gradient of a batch whose activations don't fit.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup" (2021). A loss of a batch depends on the network through the embeddings
only, so that the chain rule may stop there:

1. embed the batch chunk by chunk, keeping no activations;
2. the loss of *all* embeddings, and its gradient by each of them;
3. embed each chunk again, and carry its part of that gradient to the weights.

The weights' gradient is the sum over the chunks: the same as in one go. It
takes one forward pass more, and the activations of one chunk instead of all.
Adding up gradients of smaller batches (`optimizer.accumulate`) is another
thing: each of these would be mined by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tripletjax.errors import UserError

# Arrays by name, `[b, ...]` each.
Examples = Mapping[str, jax.Array]
# (params, examples) -> embeddings [b, D], updates of the network's statistics.
EmbedFn = Callable[[Any, Examples], tuple[jax.Array, Any]]
# (embeddings [b, D], params) -> the loss, and what else is known of it.
LossFn = Callable[[jax.Array, Any], tuple[jax.Array, Any]]
# ((loss, (updates, what else is known)), gradients by the params).
Differentiated = tuple[tuple[jax.Array, tuple[Any, Any]], Any]


def batch_value_and_grad(
  embed_fn: EmbedFn, loss_fn: LossFn, *, chunk: int
) -> Callable[[Any, Examples], Differentiated]:
  """The loss of a device's part of a batch, and its gradient by the weights.

  Args:
    embed_fn: embeds examples, each by itself where there are chunks: no
      statistics of the batch, and draws by keys among the examples.
    loss_fn: the loss of all embeddings, those of other devices included; it may
      have parameters of its own among `params`.
    chunk: examples that are embedded at once, a divisor of their number; 0
      embeds them in one go.

  Returns:
    `(params, examples) -> ((loss, (updates, aux)), gradients)`, as
    `jax.value_and_grad` gives it.
  """

  def whole(params: Any, examples: Examples) -> Any:
    embeddings, updates = embed_fn(params, examples)
    loss, aux = loss_fn(embeddings, params)
    return loss, (updates, aux)

  if not chunk:
    return jax.value_and_grad(whole, has_aux=True)

  def cached(params: Any, examples: Examples) -> Differentiated:
    chunks = _chunked(examples, chunk)
    embeddings = lax.map(lambda part: _embed(embed_fn, params, part), chunks)
    (loss, aux), (by_embeddings, gradients) = jax.value_and_grad(
      loss_fn, argnums=(0, 1), has_aux=True
    )(embeddings.reshape(-1, embeddings.shape[-1]), params)

    def add(gradients: Any, step: tuple[Examples, jax.Array]) -> Any:
      part, by_part = step
      _, pull = jax.vjp(lambda params: _embed(embed_fn, params, part), params)
      return jax.tree.map(jnp.add, gradients, *pull(by_part)), None

    # Begins with the gradient by the loss's own parameters.
    gradients, _ = lax.scan(
      add, gradients, (chunks, by_embeddings.reshape(embeddings.shape))
    )
    return (loss, ({}, aux)), gradients

  return cached


def embed_all(
  embed_fn: EmbedFn, params: Any, examples: Examples, *, chunk: int
) -> jax.Array:
  """The embeddings `[b, D]` alone, as training embeds them."""
  if not chunk:
    return embed_fn(params, examples)[0]
  embeddings = lax.map(
    lambda part: _embed(embed_fn, params, part), _chunked(examples, chunk)
  )
  return embeddings.reshape(-1, embeddings.shape[-1])


def _chunked(examples: Examples, chunk: int) -> Examples:
  return jax.tree.map(lambda x: x.reshape(-1, chunk, *x.shape[1:]), examples)


def _embed(embed_fn: EmbedFn, params: Any, examples: Examples) -> jax.Array:
  embeddings, updates = embed_fn(params, examples)
  if jax.tree.leaves(updates):
    raise ValueError(
      "expected a network without statistics of the batch, as BatchNorm has "
      "them: in chunks they would be those of a chunk"
    )
  return embeddings


def check_chunk(chunk: int, *, share: int, uses_batch: bool) -> None:
  """Raises a `UserError` unless a batch can be embedded in chunks.

  Args:
    chunk: `batch.chunk`; 0 is none.
    share: images of the batch that a device has.
    uses_batch: whether the network uses statistics of the batch.
  """
  if chunk and uses_batch:
    raise UserError(
      "model.norm: expected group beside batch.chunk, or model.norm_frozen, "
      "got batch: BatchNorm's statistics are those of the whole batch, which "
      "is never there at once"
    )
  if chunk and share % chunk:
    raise UserError(
      f"batch.chunk: expected 0 or a divisor of the {share} images of each "
      f"device, got {chunk}"
    )
