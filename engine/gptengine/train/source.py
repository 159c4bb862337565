"""Where an optimiser step's batch comes from: our own token loader, or any iterable of batches."""

from collections.abc import Iterable, Iterator, Sized
from typing import Protocol

from torch import Tensor

from gptcore.errors import UserError
from gptengine.data.sampler import TokenLoader

Batch = tuple[Tensor, Tensor]


class Source(Protocol):
    """Batches by number of the optimiser step."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """`(input_ids, targets)` of `step`, each (sequences, time), for this process."""
        ...


class TokenSource:
    """Batches of a `TokenLoader`: step and rank alone say which samples they hold.

    Args:
        loader: Its `batch_size` is that of the optimiser step, over all processes.
        rank: Of this process.
        world_size: How many processes there are; they take turns at the samples.
    """

    def __init__(self, loader: TokenLoader, rank: int = 0, world_size: int = 1) -> None:
        self._loader = loader
        self._rank = rank
        self._world_size = world_size
        self.steps_per_epoch = len(loader)

    def batch(self, step: int) -> Batch:
        """The samples of `step` that are this process's."""
        size = self._loader.batch_size
        first = step * size
        return self._loader.samples(range(first + self._rank, first + size, self._world_size))


class IterableSource:
    """Batches of any iterable that can be gone through once an epoch, such as a `DataLoader`.

    Args:
        loader: Yields `(input_ids, targets)`; each batch is one optimiser step.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self._loader = loader
        self._iterator: Iterator[Batch] = iter(())
        self._next = 0
        if not isinstance(loader, Sized):
            raise UserError(
                "the train_loader has no length, so an epoch has no end",
                where=type(loader).__name__,
                fix="give a list of batches, a DataLoader, or gptengine's TokenLoader",
            )
        self.steps_per_epoch = len(loader)
        if self.steps_per_epoch == 0:
            raise UserError("the train_loader is empty", where=type(loader).__name__)

    def batch(self, step: int) -> Batch:
        """The next batch; after a resume those before `step` are gone through unseen."""
        while True:
            for batch in self._iterator:
                self._next += 1
                if self._next > step:
                    return batch
            self._iterator = iter(self._loader)


def as_source(loader: TokenLoader | Iterable[Batch], rank: int, world_size: int) -> Source:
    """The source of a loader of either kind."""
    if isinstance(loader, TokenLoader):
        return TokenSource(loader, rank, world_size)
    return IterableSource(loader)


def evaluation_batches(
    loader: TokenLoader | Iterable[Batch], size: int, count: int
) -> Iterator[Batch]:
    """At most `count` batches of held-out data, the same ones at each call.

    Args:
        loader: Of held-out data.
        size: Sequences a batch, where the loader is ours.
        count: Batches at most.
    """
    if not isinstance(loader, TokenLoader):
        for number, batch in enumerate(loader):
            if number >= count:
                return
            yield batch
        return
    for first in range(0, min(loader.num_blocks, count * size), size):
        yield loader.samples(range(first, min(first + size, loader.num_blocks)))
