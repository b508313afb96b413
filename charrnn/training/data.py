"""The text of a run: prepared once per machine, divided, and cut into batches."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from accelerate import Accelerator

from charrnn.config import BatchConfig
from charrnn.model import Architecture, CharRNN, ModelConfig
from charrnn.processes.collectives import on_all_collective, on_main_collective
from charrnn.text.batches import Batches, Split, StreamBatches, WindowBatches, splits
from charrnn.text.prepare import prepare
from charrnn.text.prepared import PreparedText, open_prepared
from charrnn.text.settings import TextConfig
from charrnn.text.shuffle import StoredShuffle, computed_shuffle

__all__ = ["RunText"]


@dataclass(frozen=True)
class RunText:
    """A prepared text and its three splits."""

    prepared: PreparedText
    train: Split
    validation: Split
    test: Split

    @classmethod
    def open_collective(cls, config: TextConfig, accelerator: Accelerator) -> Self:
        """Prepare the text on the main process; the others open what it made, or make their own on another machine.

        Every process calls this; an error of the main process is raised on all.
        """
        mine: list[PreparedText] = []

        def on_main() -> dict[str, str]:
            mine.append(prepare(config))
            return {"path": str(mine[0].path), "description": mine[0].description}

        made = on_main_collective(accelerator, on_main)

        def here() -> PreparedText:
            if mine:
                return mine[0]
            found = open_prepared(Path(made["path"]), description=made["description"])
            return found or prepare(config, progress=False)

        return cls._divided(on_all_collective(accelerator, here), config)

    @classmethod
    def _divided(cls, text: PreparedText, config: TextConfig) -> Self:
        parts = splits(
            len(text.stream),
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            validation_at=config.validation_at,
        )
        return cls(text, *parts)

    def divided(self, config: TextConfig) -> Self:
        """The same text with the splits of `config`."""
        return self._divided(self.prepared, config)

    @property
    def test_share(self) -> float:
        """Characters of the test split for each one of the validation split."""
        return len(self.test) / max(1, len(self.validation))

    def batches(self, config: BatchConfig, seed: int, behaviour: int) -> Batches:
        """The order of the training split; `behaviour` is that of TrainConfig.

        Raises CorpusError where the split is too short for one batch.
        """
        sizes = {"batch_size": config.size, "length": config.length}
        if config.mode == "stream":
            return StreamBatches(self.prepared.stream, self.train, **sizes)
        shuffle = StoredShuffle if behaviour == 1 else computed_shuffle
        return WindowBatches(
            self.prepared.stream, self.train, **sizes, stride=config.stride, seed=seed, shuffle=shuffle
        )

    def model(self, architecture: Architecture) -> CharRNN:
        """A model of the text's characters, its weights drawn from torch's global generator."""
        return CharRNN(ModelConfig(vocabulary_size=len(self.prepared.vocabulary), **asdict(architecture)))

    def beginning(self) -> str:
        """Up to 12 characters: the text's first line, or how that begins."""
        prepared = self.prepared
        return prepared.vocabulary.decode(prepared.stream.read(0, min(12, len(prepared.stream)))).splitlines()[0]

    def describe(self) -> dict[str, Any]:
        """What config.json and W&B say of the text."""
        return {
            "sha256": self.prepared.sha256,
            "description": self.prepared.description,
            "characters": len(self.prepared.stream),
            "vocabulary_size": len(self.prepared.vocabulary),
            "splits": {split.name: [split.start, split.stop] for split in (self.train, self.validation, self.test)},
        }
